"""The Celery application of test_celery: `install()` is all that it does about Leveret."""

from __future__ import annotations

import os

from celery import Celery, chain, group

from leveret import compat

compat.install()

app = Celery("celery_app", broker=os.environ["BROKER_URL"], backend="rpc://")
app.conf.update(
    worker_prefetch_multiplier=4,
    task_default_queue=os.environ["TASK_QUEUE"],
    task_acks_late=True,
    broker_connection_retry_on_startup=True,
    result_expires=60,
    worker_enable_remote_control=True,
)


@app.task
def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


@app.task(bind=True, max_retries=5)
def flaky(self: object, fails: int) -> int:
    """Fails some times, and says then how often it ran."""
    tries: int = self.request.retries  # type: ignore[attr-defined]
    if tries < fails:
        raise self.retry(countdown=0.1)  # type: ignore[attr-defined]
    return tries


@app.task(rate_limit="20/s")
def limited() -> str:
    """At most twenty a second."""
    return "done"


def main() -> None:
    """Calls tasks, and prints a line where all came back right."""
    assert app.connection().transport.driver_name == "leveret"
    with app.connection_for_write() as connection:
        connection.connect()
        assert type(connection.connection).__module__ == "leveret.compat.kombu"
    assert add.delay(2, 3).get(timeout=30) == 5
    assert chain(add.s(1, 2), add.s(3), add.s(4)).apply_async().get(timeout=30) == 10
    assert flaky.delay(2).get(timeout=30) == 2
    assert group(add.s(n, n) for n in range(50))().get(timeout=30) == [2 * n for n in range(50)]
    assert add.apply_async((1, 1), countdown=0.5).get(timeout=30) == 2
    assert [r.get(timeout=30) for r in [limited.delay() for _ in range(5)]] == ["done"] * 5
    held = add.apply_async((1, 1), countdown=600)
    held.revoke()
    assert app.control.ping(timeout=5)
    print("all tasks came back")


if __name__ == "__main__":
    main()

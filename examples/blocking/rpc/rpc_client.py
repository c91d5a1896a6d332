"""Tutorial 6, "RPC": ask for a Fibonacci number and wait for the answer."""

import argparse
import uuid

import leveret


class FibonacciClient:
    """Asks one thing at a time. Answers come to a queue of its own."""

    def __init__(self, channel: leveret.Channel, answers: leveret.Consumer) -> None:
        self._channel = channel
        self._answers = answers

    @classmethod
    def open(cls, channel: leveret.Channel) -> "FibonacciClient":
        queue = channel.queue_declare(exclusive=True).queue
        return cls(channel, channel.consume(queue, no_ack=True))

    def call(self, n: int, timeout: float = 30.0) -> int:
        """The n-th Fibonacci number; DeadlineExceeded if no answer comes in time."""
        correlation_id = str(uuid.uuid4())
        # mandatory is the default: without a server there is no queue, and PublishReturned says so
        self._channel.publish(
            str(n).encode(),
            routing_key="rpc_queue",
            properties=leveret.Properties(
                reply_to=self._answers.queue, correlation_id=correlation_id
            ),
            persistent=False,
        )
        while True:
            answer = self._answers.get(timeout)
            if answer.properties.correlation_id == correlation_id:  # else: of an earlier call
                return int(answer.body)


def main(url: str, n: int = 30) -> None:
    with leveret.connect(url) as connection, connection.channel() as channel:
        client = FibonacciClient.open(channel)
        print(f" [x] Requesting fib({n})")
        print(f" [.] Got {client.call(n)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("n", type=int, nargs="?", default=30)
    arguments = parser.parse_args()
    main(arguments.url, arguments.n)

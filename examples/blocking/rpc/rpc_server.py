"""Tutorial 6, "RPC": answer requests for Fibonacci numbers."""

import argparse
import contextlib

import leveret


def fib(n: int) -> int:
    """The n-th Fibonacci number, slowly."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def main(url: str, count: int | None = None) -> None:
    with leveret.connect(url) as connection, connection.channel() as channel:
        channel.queue_declare("rpc_queue", durable=True)
        consumer = channel.consume("rpc_queue", prefetch=1)
        print(" [x] Awaiting RPC requests", flush=True)
        for number, request in enumerate(consumer, 1):
            n = int(request.body)
            print(f" [.] fib({n})", flush=True)
            # mandatory=False: a client that has gone away needs no answer
            channel.publish(
                str(fib(n)).encode(),
                routing_key=request.properties.reply_to or "",
                properties=leveret.Properties(correlation_id=request.properties.correlation_id),
                mandatory=False,
                persistent=False,
            )
            request.ack()
            if number == count:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("--count", type=int, help="messages; default: until Ctrl-C")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        main(arguments.url, arguments.count)

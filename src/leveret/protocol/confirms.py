"""Publisher confirms: which publish has which outcome (RabbitMQ, "Consumer Acknowledgements and
Publisher Confirms").

After confirm.select both sides number the publishes of the channel from 1; the broker acks or
nacks numbers, singly or up to one (`multiple`), in any order. Every number is visited once or
twice, so that the cost of a confirm does not depend on how many are open.

A mandatory message that no queue takes comes back as basic.return, which carries no number,
before its ack. Returns come in the order of publishing, so a cursor walks over the open
publishes and finds the first with the same exchange, routing key, properties and body. A
mandatory publish whose outcome nobody asks for stands there as well, as `Unclaimed`, or its
return would be taken for that of another. What was published before confirm.select has no number,
and comes back before confirm.select-ok: RabbitMQ's channel process sends a return while it handles
the publish (rabbit_channel, `process_routing_mandatory`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, ClassVar

from ..exceptions import (
    LeveretError,
    PeerError,
    PublishError,
    PublishNacked,
    PublishNotSent,
    PublishReturned,
    PublishUnknown,
)
from ..types import Buffer
from ..wire import BasicAck, Item, Returned, confirm, confirm_run

__all__ = ["ConfirmTracker", "Outcome", "Publication", "Unclaimed"]


class Outcome(Enum):
    """How a publish ended; exactly one of the last five, and then for ever."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    RETURNED = "returned"
    NACKED = "nacked"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"


_CONFIRMED = Outcome.CONFIRMED


class Publication:
    """One publish and its outcome.

    Attributes:
        exchange, routing_key, raw_properties, body, mandatory: as published.
        delivery_tag: its number on the channel, from 1; 0 before it is sent.
        outcome: see `Outcome`.
        position: how many bytes the connection had queued in all, this publish included.
        returned: the message that came back, if one did.
        reason: the error that ended the channel before an outcome came, if one did.
    """

    __slots__ = (
        "body",
        "delivery_tag",
        "exchange",
        "mandatory",
        "outcome",
        "position",
        "raw_properties",
        "reason",
        "returned",
        "routing_key",
    )

    is_claimed: ClassVar = True  # whether anybody asks for the outcome

    def __init__(self, exchange: str, routing_key: str, body: Buffer, mandatory: bool) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.raw_properties = b""
        self.body = body
        self.mandatory = mandatory
        self.delivery_tag = 0
        self.position = 0
        self.outcome = Outcome.PENDING
        self.returned: Returned | None = None
        self.reason: LeveretError | None = None

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.delivery_tag} exchange={self.exchange!r} "
            f"routing_key={self.routing_key!r} {self.outcome.value}>"
        )

    def failed(self, kind: type[PublishError], reason: BaseException | None) -> PublishError:
        """An error of this publish."""
        error = kind(
            str(reason or ""),
            exchange=self.exchange,
            routing_key=self.routing_key,
            delivery_tag=self.delivery_tag,
        )
        error.publication = self
        error.__cause__ = reason
        if self.outcome is Outcome.NACKED and isinstance(reason, PeerError):
            error.retryable = reason.retryable  # what was wrong then is wrong again
        return error

    @property
    def error(self) -> PublishError | None:
        """The outcome as an error; None while it is pending and when it is confirmed."""
        outcome = self.outcome
        if outcome is Outcome.PENDING or outcome is Outcome.CONFIRMED:
            return None
        if outcome is not Outcome.RETURNED or self.returned is None:
            return self.failed(_ERRORS[outcome], self.reason)
        error = PublishReturned(
            exchange=self.exchange,
            routing_key=self.routing_key,
            delivery_tag=self.delivery_tag,
            reply_code=self.returned.reply_code,
            reply_text=self.returned.reply_text,
            returned=self.returned,
        )
        error.publication = self
        return error


class Unclaimed(Publication):
    """A mandatory publish whose outcome nobody asks for; it is in no event."""

    __slots__ = ()

    is_claimed = False


_ERRORS: dict[Outcome, type[PublishError]] = {
    Outcome.NACKED: PublishNacked,
    Outcome.NOT_SENT: PublishNotSent,
    Outcome.UNKNOWN: PublishUnknown,
}


class ConfirmTracker:
    """The open publishes of one channel in confirm mode.

    Args:
        numbering: whether the broker numbers publishes already.

    Attributes:
        numbering: the same; what it returns before that has no number.
    """

    __slots__ = ("_cursor", "_low", "_open", "_tag", "_unclaimed", "_unknown", "numbering")

    def __init__(self, numbering: bool = True) -> None:
        self.numbering = numbering
        self._tag = 0  # of the last publish
        self._low = 1  # no open publish has a lower number
        self._cursor = 1  # no return will match a publish with a lower number
        self._open: dict[int, Publication] = {}
        self._unclaimed = 0  # how many of them are that
        self._unknown = 0  # the last publish that came without a publication

    def __len__(self) -> int:
        return len(self._open) - self._unclaimed

    def exchanges(self) -> set[str]:
        """Where the open publishes went."""
        return {publication.exchange for publication in self._open.values()}

    def add(
        self, publication: Publication | None, position: int, raw_properties: bytes = b""
    ) -> None:
        """Number a publish; None or `Unclaimed` for one whose outcome nobody asks for."""
        self._tag = tag = self._tag + 1
        if publication is None:
            self._unknown = tag
            return
        publication.delivery_tag = tag
        publication.position = position
        publication.raw_properties = raw_properties
        self._open[tag] = publication
        if publication.__class__ is Unclaimed:
            self._unclaimed += 1
            self._unknown = tag

    def settle(
        self, tag: int, multiple: bool, outcome: Outcome, settled: list[Publication]
    ) -> bool:
        """An ack or a nack of the broker.

        Args:
            tag, multiple: as received; tag 0 with multiple means all.
            outcome: CONFIRMED or NACKED.
            settled: takes the publications that have their outcome now.

        Returns:
            False for a number that was never published: the broker's fault.
        """
        if tag > self._tag or (tag == 0 and not multiple):
            return False
        if not multiple:
            publication = self._open.pop(tag, None)
            if publication is not None:
                self._finish(publication, outcome, settled)
            if tag == self._low:
                self._low = tag + 1
            return True
        last = tag or self._tag
        pop = self._open.pop
        number = self._low
        while number <= last:
            number = confirm(self._open, number, last, outcome, settled)
            if number <= last:
                self._finish(pop(number), outcome, settled)
                number += 1
        if last >= self._low:
            self._low = last + 1
        return True

    def confirm_only(self, tag: int, publication: Publication) -> bool:
        """Confirm a publish, if it has this number, is the only open one and did not come back."""
        if (
            tag != publication.delivery_tag
            or len(self._open) != 1
            or tag not in self._open
            or publication.returned is not None
        ):
            return False
        self._open.clear()
        self._low = tag + 1
        publication.outcome = Outcome.CONFIRMED
        return True

    def confirm_run(
        self, items: Sequence[Item], start: int, channel: int, settled: list[Publication]
    ) -> int:
        """The acks of the channel from `start` on, as far as they follow each other.

        Args:
            settled: takes the publications that have their outcome now.

        Returns:
            The first item that is not such an ack, or is for a number that was never published.
        """
        position = start
        while True:
            position, self._low = confirm_run(
                items, position, channel, self._open, self._low, self._tag, _CONFIRMED, settled
            )
            if position == len(items):
                return position
            ack: Any = items[position]
            if (
                ack.__class__ is not BasicAck
                or ack.channel != channel
                or not self.settle(ack.delivery_tag, ack.multiple, _CONFIRMED, settled)
            ):
                return position
            position += 1

    def _finish(
        self, publication: Publication, outcome: Outcome, settled: list[Publication]
    ) -> None:
        if publication.returned is not None and outcome is Outcome.CONFIRMED:
            outcome = Outcome.RETURNED
        publication.outcome = outcome
        if publication.__class__ is Unclaimed:
            self._unclaimed -= 1
        else:
            settled.append(publication)

    def match_return(self, message: Returned) -> Publication | None:
        """The publication that a returned message belongs to, marked; None if there is none."""
        found = self._find(message) if self.numbering else None
        if found is None:
            return None
        found.returned = message
        self._cursor = found.delivery_tag + 1
        return None if found.__class__ is Unclaimed else found

    def _find(self, message: Returned) -> Publication | None:
        """The first that is the same; for want of one, the first with the same names.

        A buffer that its owner has changed since, or properties that the broker has written
        anew, must not make a returned message look confirmed.
        """
        similar = None
        for tag in range(max(self._cursor, self._low), self._tag + 1):
            publication = self._open.get(tag)
            if (
                publication is not None
                and publication.mandatory
                and publication.routing_key == message.routing_key
                and publication.exchange == message.exchange
            ):
                if (
                    publication.raw_properties == message.raw_properties
                    and publication.body == message.body
                ):
                    return publication
                similar = similar or publication
        return similar

    def abandon(
        self,
        bytes_sent: int,
        reason: LeveretError | None,
        may_be_refused: Callable[[Publication], bool] | None = None,
    ) -> list[Publication]:
        """The channel is gone: every open publish gets its outcome now.

        Args:
            bytes_sent: how many bytes were handed to the network.
            reason: why the channel ended.
            may_be_refused: given where the broker blames a publish: whether it can be this one.
                The broker handles publishes in order and drops all that follows the one it
                refuses: what comes after the last candidate has not arrived, and a single
                candidate is the one refused. Publishes that nobody asks for are candidates too;
                one without a number is it, where the broker does not number them yet.
        """
        publications = [p for p in self._open.values() if p.__class__ is not Unclaimed]
        self._open.clear()
        self._unclaimed = 0
        candidates = [p for p in publications if may_be_refused and may_be_refused(p)]
        last = max(candidates[-1].delivery_tag, self._unknown) if candidates else self._tag
        if self._unknown >= self._low:
            candidates.clear()
        if may_be_refused and not self.numbering:
            candidates, last = [], 0
        for publication in publications:
            publication.reason = reason
            if publication.returned is not None:
                publication.outcome = Outcome.RETURNED
            elif publication.position > bytes_sent or publication.delivery_tag > last:
                publication.outcome = Outcome.NOT_SENT
            elif candidates == [publication]:
                publication.outcome = Outcome.NACKED
            else:
                publication.outcome = Outcome.UNKNOWN
        return publications

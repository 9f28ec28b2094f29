"""Cross-entropy over a matrix of cosines that is never held whole: its value and its gradient, tile by tile.

Each tile is some rows against all columns. A row's sum is whole within its tile, so in one direction the gradient
is taken while the tile is there: three products in all, as many as plain autograd needs, and no second pass. With
``both`` the columns' sums are known only behind the last tile; tiles are then computed again, unless there is only
one. That is four products for two directions, where two separate ones take six.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_NEVER = float("-inf")


class CrossEntropy(NamedTuple):
    """What :func:`cross_entropy` finds.

    Args:
        loss: mean over the rows, or over both directions' means, ``()``, with gradient.
        accuracy: share of the rows whose own logit is above all others, ``()``.
        column_accuracy: the same of the columns that look for their row, ``()``; 0 where none do.
        masked: logits left out per row, ``()``.
    """

    loss: Tensor
    accuracy: Tensor
    column_accuracy: Tensor
    masked: Tensor


class FalseNegatives(NamedTuple):
    """The gathered hashes: which columns are right answers to a row that is not their own.

    Args:
        pairs: pairs that agree in any of the k columns are no negatives of each other, ``(world_size * n, k)``.
        positives: a hard negative that is the text of a row's own y is none for that row, ``(world_size * n,)``;
            None takes all as negatives.
        negatives: hashes of the hard negatives, ``(m,)``.
    """

    pairs: Tensor
    positives: Tensor | None
    negatives: Tensor


class Rivals:
    """Finds the columns that are right answers to a row, though not its own.

    Args:
        rows: k hashes of each row, ``(n, k)``.
        columns: the same of each column, ``(w, k)``.
        own: hash of each row's own answer, ``(n,)``; None where no further column is to be left out.
        further: hash of each further column, behind the w, ``(m,)``.
    """

    def __init__(self, rows: Tensor, columns: Tensor, own: Tensor | None, further: Tensor) -> None:
        self.rows, self.columns = rows.T.contiguous(), columns.T.contiguous()  # (k, n), (k, w)
        self.own, self.further = None if own is None else own.contiguous(), further
        # Few rows have any: only those are compared with all columns.
        twins = [_count(mine, all_) > 1 for mine, all_ in zip(self.rows, self.columns, strict=True)]
        if self.own is not None:
            twins.append(_count(self.own, further) > 0)
        self.some = torch.stack(twins).any(0)  # (n,)

    @classmethod
    def of(cls, found: FalseNegatives | None, rows: slice) -> Rivals | None:
        """Those of the rows of one rank."""
        if found is None:
            return None
        own = None if found.positives is None else found.positives[rows]
        return cls(found.pairs[rows], found.pairs, own, found.negatives)

    def hide(self, logits: Tensor, rows: slice, own: Tensor) -> Tensor:
        """Set the logits of right answers that are not a row's own to minus infinity; how many, ``()``.

        Args:
            logits: ``(t, columns)``, of the ``rows`` of the tile; changed in place.
            own: column of each row's own answer, ``(t,)``.
        """
        at = self.some[rows].nonzero().squeeze(1)  # (s,) rows of the tile with anything to hide
        hidden = torch.zeros(len(at), logits.shape[1], dtype=torch.bool, device=logits.device)
        width = self.columns.shape[1]
        for mine, all_ in zip(self.rows, self.columns, strict=True):
            hidden[:, :width] |= mine[rows][at, None] == all_
        if self.own is not None and logits.shape[1] > width:
            hidden[:, width:] = self.own[rows][at, None] == self.further
        hidden[torch.arange(len(at), device=at.device), own[at]] = False
        logits[at] = logits[at].masked_fill_(hidden, _NEVER)
        return hidden.sum()


def _count(wanted: Tensor, among: Tensor) -> Tensor:
    """How often each of ``wanted`` stands ``among`` others."""
    inorder = among.sort().values
    return torch.searchsorted(inorder, wanted, right=True) - torch.searchsorted(inorder, wanted)


def cross_entropy(
    rows: Tensor,
    columns: Tensor,
    scale: Tensor | float,
    *,
    first: int,
    both: bool = False,
    rivals: Rivals | None = None,
    tile_bytes: int,
) -> CrossEntropy:
    """Mean cross-entropy of each row's own column under ``scale * rows @ columns.T``.

    Args:
        rows: ``(n, d)``, float32 or float64.
        columns: ``(c, d)``.
        scale: factor of the products, ``()``.
        first: row i's own column is ``first + i``.
        both: also that of each of the first n columns' own row among the n rows; ``first`` is 0 then.
        rivals: finds what to leave out of the sums.
        tile_bytes: most bytes of a tile, which has one row at least; about three tiles are held at a time.
    """
    scale = torch.as_tensor(scale, dtype=rows.dtype, device=rows.device)
    height = min(len(rows), max(1, tile_bytes // (len(columns) * rows.element_size())))
    gradient = torch.is_grad_enabled() and any(part.requires_grad for part in (rows, columns, scale))
    return CrossEntropy(*_CrossEntropy.apply(rows, columns, scale, first, both, rivals, height, gradient))


class _CrossEntropy(torch.autograd.Function):
    """Takes the gradient in the forward pass; the backward pass only multiplies it."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        columns: Tensor,
        scale: Tensor,
        first: int,
        both: bool,
        rivals: Rivals | None,
        height: int,
        gradient: bool,
    ) -> CrossEntropy:
        with torch.autocast(rows.device.type, enabled=False):
            sums = _Sums(rows, columns, scale, first, both, rivals, height, gradient)
            found = sums.result()
        if gradient:
            ctx.save_for_backward(sums.rows_grad, sums.columns_grad, sums.scale_grad)
        ctx.mark_non_differentiable(*found[1:])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *(grads[0] * part for part in ctx.saved_tensors), None, None, None, None, None


class _Sums:
    """Goes over the tiles, adding up losses, hits and gradients."""

    def __init__(
        self,
        rows: Tensor,
        columns: Tensor,
        scale: Tensor,
        first: int,
        both: bool,
        rivals: Rivals | None,
        height: int,
        gradient: bool,
    ) -> None:
        self.rows, self.columns, self.scale = rows, columns, scale
        self.first, self.both, self.rivals = first, both, rivals
        n = len(rows)
        self.row_sums = rows.new_empty(n)  # log-sum-exp of each row
        self.own = rows.new_empty(n)  # logit of each row's own column
        self.row_rival = rows.new_empty(n)  # highest of the others
        self.column_sums = rows.new_full((n,), _NEVER)  # the same of the columns, over the tiles so far
        self.column_rival = rows.new_full((n,), _NEVER)
        self.masked: Tensor = torch.zeros((), dtype=torch.int64, device=rows.device)
        if gradient:
            self.rows_grad, self.columns_grad = torch.empty_like(rows), torch.zeros_like(columns)
        tiles = [slice(start, min(start + height, n)) for start in range(0, n, height)]
        one_pass = len(tiles) == 1 or not both
        for tile in tiles:
            logits, hidden = self._logits(tile)  # (t, c)
            self.masked += hidden
            self._look(logits, tile)
            if gradient and one_pass:
                self._differentiate(logits, tile)
        if gradient and not one_pass:
            for tile in tiles:
                self._differentiate(self._logits(tile)[0], tile)
        if gradient:
            self._scale_gradients()

    def _logits(self, tile: slice) -> tuple[Tensor, Tensor | int]:
        """A tile's logits, ``(t, c)``, and how many of them were left out."""
        logits = (self.rows[tile] * self.scale) @ self.columns.T  # (t, c)
        if self.rivals is None:
            return logits, 0
        return logits, self.rivals.hide(logits, tile, self._own_columns(tile))

    def _own_columns(self, tile: slice) -> Tensor:
        return torch.arange(self.first + tile.start, self.first + tile.stop, device=self.rows.device)

    def _look(self, logits: Tensor, tile: slice) -> None:
        """Note what the losses and accuracies need of a tile."""
        at = self._own_columns(tile)[:, None]  # (t, 1)
        self.row_sums[tile] = logits.logsumexp(1)
        if self.both:
            square = logits[:, : len(self.rows)]  # (t, n)
            torch.logaddexp(self.column_sums, square.logsumexp(0), out=self.column_sums)
        self.own[tile] = logits.gather(1, at).squeeze(1)
        logits.scatter_(1, at, _NEVER)  # to see the highest of the others
        self.row_rival[tile] = logits.amax(1)
        if self.both:
            torch.maximum(self.column_rival, square.amax(0), out=self.column_rival)
        logits.scatter_(1, at, self.own[tile][:, None])

    def _differentiate(self, logits: Tensor, tile: slice) -> None:
        """Add a tile's part of the gradient of the mean loss; ``logits`` are used up."""
        n = len(self.rows)
        shares = (logits - self.row_sums[tile, None]).exp_()  # (t, c) softmax of each row
        if self.both:
            shares[:, :n] += logits[:, :n].sub_(self.column_sums).exp_()  # that of each column
        directions = 1 + self.both
        at = self._own_columns(tile)[:, None]
        shares.scatter_add_(1, at, shares.new_full(at.shape, -directions))
        shares /= n * directions
        self.rows_grad[tile] = shares @ self.columns
        self.columns_grad.addmm_(shares.T, self.rows[tile])

    def _scale_gradients(self) -> None:
        """Bring in the factor that the products with the softmax lack; the scale's own gradient needs them so."""
        self.scale_grad = torch.linalg.vecdot(self.rows, self.rows_grad).sum()  # ()
        self.rows_grad *= self.scale
        self.columns_grad *= self.scale

    def result(self) -> CrossEntropy:
        n = len(self.rows)
        loss = (self.row_sums - self.own).mean()
        accuracy = (self.own > self.row_rival).float().mean()
        by_column = loss.new_zeros(())
        if self.both:
            loss = (loss + (self.column_sums - self.own).mean()) / 2
            by_column = (self.own > self.column_rival).float().mean()
        return CrossEntropy(loss, accuracy, by_column, self.masked / n)

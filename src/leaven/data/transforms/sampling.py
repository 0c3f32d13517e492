"""Reading pictures and maps at moved places: the nearest pixel, or a blend of the nearest four.

Places are measured in pixels from the upper left corner of the upper left pixel: pixel ``i`` covers
[i, i + 1) and has its centre at ``i + 0.5``. Matrices lead from the result back to the input; they
are kept on the CPU, so that a GPU is never waited for when a faster way is chosen by their values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from leaven.data.transforms.geometric import CPU_CHUNK, GPU_CHUNK

Size = tuple[int, int]
"""Height and width in pixels."""


def sample_nearest(values: Tensor, back: Tensor, size: Size, fill: float) -> Tensor:
    """The values of the pixels that the centres of the result's pixels lie in.

    ``out[v, u] = in[floor(y), floor(x)]`` with ``(x, y) = back (u + 0.5, v + 0.5, 1)``, and ``fill``
    where that is no pixel. Nothing is rounded where ``back`` mirrors, turns by quarters and moves by
    whole pixels.

    Args:
        values: (B, C, H, W), any dtype.
        back: (B, 2, 3) float64 on the CPU, from places in the result to places in the input.
        size: height and width of the result.
        fill: the value outside.

    Returns:
        (B, C, *size) in the dtype of ``values``.
    """
    source = (values.shape[2], values.shape[3])

    def gather(part: slice) -> Tensor:
        # In a frame of fill every position outside is the one just outside: no mask is needed.
        framed = pad(values[part], (1, 1, 1, 1), value=fill)
        column, row = _pixels(back[part], source, size, values.device)
        return _gather(framed, row.add_(1).mul_(framed.shape[3]) + column.add_(1))

    return _in_chunks(values, size, gather)


def sample_bilinear(values: Tensor, back: Tensor, size: Size, fill: float) -> Tensor:
    """The blend of the four pixels around each place; beyond the outermost centres the edge goes on.

    ``out[v, u] = sum_ij max(0, 1 - |x - j - 1/2|) max(0, 1 - |y - i - 1/2|) in[i, j]`` with
    ``(x, y) = back (u + 0.5, v + 0.5, 1)``, and ``fill`` where no input pixel holds that place. A
    result that is smaller than its input is not smoothed first.

    Args:
        values: (B, C, H, W), floating or uint8.
        back: (B, 2, 3) float64 on the CPU, from places in the result to places in the input.
        size: height and width of the result.
        fill: the value outside.

    Returns:
        (B, C, *size) in the dtype of ``values``; uint8 is rounded to the nearest level.
    """
    source = (values.shape[2], values.shape[3])
    # grid_sample measures places from -1 at one edge to 1 at the other.
    to_grid = back * back.new_tensor([2 / source[1], 2 / source[0]])[:, None]
    to_grid[:, :, 2] -= 1

    def interpolate(part: slice) -> Tensor:
        grid = _places(to_grid[part], size, values.device).permute(0, 2, 3, 1)
        floats = _floating(values[part])
        sampled = grid_sample(floats, grid.to(floats), padding_mode="border", align_corners=False)
        if not values.dtype.is_floating_point:
            # By way of int16, because torch converts float to uint8 one by one.
            sampled = sampled.round_().short()
        return _filled(sampled.to(values.dtype), back[part], source, fill)

    return _in_chunks(values, size, interpolate)


def inside(back: Tensor, source: Size, size: Size, device: torch.device) -> Tensor:
    """(B, *size) bool: the centre of the pixel lies in a pixel of the input.

    Args:
        back: (B, 2, 3) float64 on the CPU, from places in the result to places in the input.
        source, size: height and width of the input and of the result.
        device: where the result is wanted.
    """
    column, row = _pixels(back, source, size, device)
    in_columns = ((column >= 0) & (column < source[1])).view(torch.uint8)
    in_rows = ((row >= 0) & (row < source[0])).view(torch.uint8)
    # Bytes are combined vectorised, truth values one by one.
    return (in_rows & in_columns).view(torch.bool)


def _pixels(back: Tensor, source: Size, size: Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """The column and the row, int32, that each pixel is read from; -1 or the side when outside.

    They broadcast to (B, *size): without turn and shear there is one for each column and each row.
    """
    if bool(back[:, 0, 1].any() | back[:, 1, 0].any()):
        x, y = _places(back, size, device).unbind(1)
    else:
        x = back[:, 0, :1] * (torch.arange(size[1]) + 0.5) + back[:, 0, 2:]
        y = back[:, 1, 1:2] * (torch.arange(size[0]) + 0.5) + back[:, 1, 2:]
        x, y = x[:, None, :], y[:, :, None]
    column = x.floor().clamp_(-1, source[1]).to(device, torch.int32, non_blocking=True)
    return column, y.floor().clamp_(-1, source[0]).to(device, torch.int32, non_blocking=True)


def _places(back: Tensor, size: Size, device: torch.device) -> Tensor:
    """(B, 2, h, w) float32, the place x, y that each pixel is read from."""
    matrix = back.to(device, torch.float32, non_blocking=True)
    x = torch.arange(size[1], device=device, dtype=torch.float32) + 0.5
    y = torch.arange(size[0], device=device, dtype=torch.float32) + 0.5
    by_row = matrix[:, :, 1, None] * y + matrix[:, :, 2, None]
    return by_row[..., None] + (matrix[:, :, 0, None] * x)[:, :, None, :]


def _floating(values: Tensor) -> Tensor:
    """float32, or float64 as it is."""
    return values if values.dtype == torch.float64 else values.float()


def _filled(sampled: Tensor, back: Tensor, source: Size, fill: float) -> Tensor:
    """``sampled`` with ``fill`` where there is no pixel of the input."""
    size = (sampled.shape[2], sampled.shape[3])
    if _covered(back, source, size):
        return sampled
    shown = inside(back, source, size, sampled.device)[:, None]
    if sampled.dtype == torch.uint8:
        # Byte arithmetic runs vectorised on a CPU where a choice goes pixel by pixel.
        kept = shown.view(torch.uint8)
        return sampled.mul_(kept).add_((1 - kept).mul_(int(fill)))
    return torch.where(shown, sampled, sampled.new_full((), fill))


def _covered(back: Tensor, source: Size, size: Size) -> bool:
    """Whether every pixel is read from the input: an affine map is inside where its corners are."""
    ends_x, ends_y = back.new_tensor([0.5, size[1] - 0.5]), back.new_tensor([0.5, size[0] - 0.5])
    places = back[:, :, 0, None, None] * ends_x + back[:, :, 1, None, None] * ends_y[:, None]
    places = places + back[:, :, 2, None, None]
    limit = back.new_tensor([source[1], source[0]])[:, None, None]
    return bool(((places >= 0) & (places < limit)).all())


def _gather(values: Tensor, index: Tensor) -> Tensor:
    """Values at ``index`` (B, h, w) int32, positions in a plane, shared by the channels."""
    count, channels, height, width = values.shape
    planes = torch.arange(count * channels, device=values.device, dtype=torch.int32)
    flat = index[:, None] + planes.mul_(height * width).view(count, channels, 1, 1)
    return values.reshape(-1).index_select(0, flat.view(-1)).view(flat.shape)


def _in_chunks(values: Tensor, size: Size, sample: Callable[[slice], Tensor]) -> Tensor:
    """Puts together what ``sample`` makes of slices of a batch that fit a cache, in order."""
    count, channels = values.shape[:2]
    if count == 0:
        return values.new_zeros(0, channels, *size)
    limit = CPU_CHUNK if values.device.type == "cpu" else GPU_CHUNK
    step = max(1, limit // max(1, channels * size[0] * size[1]))
    parts = [sample(slice(start, start + step)) for start in range(0, count, step)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)

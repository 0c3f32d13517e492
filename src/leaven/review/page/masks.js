// Masks as COCO run lengths (columns first, from a run of zeros), painted on a canvas.

const SIDE = 1024;

export function runs(text) {
  const found = [];
  let place = 0;
  while (place < text.length) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const bits = text.charCodeAt(place) - 48;
      if (!(bits >= 0 && bits < 64) || shift > 30) throw new Error("These are no run lengths.");
      value |= (bits & 31) << shift;
      shift += 5;
      place += 1;
      more = (bits & 32) !== 0;
      if (!more && (bits & 16)) value |= -1 << shift;
    }
    if (found.length > 2) value += found[found.length - 2];
    if (value < 0) throw new Error("A run is negative.");
    found.push(value);
  }
  return found;
}

// A canvas for pictures of a size (height, width), no larger than needed; gives its scale.
export function prepared(canvas, size) {
  const scale = Math.min(1, SIDE / Math.max(...size));
  canvas.width = Math.max(1, Math.round(size[1] * scale));
  canvas.height = Math.max(1, Math.round(size[0] * scale));
  return scale;
}

// Fills what is set in a mask, or with ``holes`` what is not.
export function paint(context, mask, colour, scale, shift = [0, 0], holes = false) {
  const [height, width] = mask.size;
  let position = 0, set = holes;
  context.fillStyle = colour;
  let lengths;
  try { lengths = runs(mask.counts); } catch { return; }
  for (const length of lengths) {
    if (set) strips(context, position, Math.min(position + length, height * width), height, scale, shift);
    position += length;
    if (position >= height * width) return;
    set = !set;
  }
}

function strips(context, from, to, height, scale, [right, down]) {
  while (from < to) {
    const column = Math.floor(from / height), row = from % height;
    let length = Math.min(height - row, to - from), columns = 1;
    if (row === 0 && length === height) columns = Math.floor((to - from) / height);
    const left = Math.floor((column + right) * scale), top = Math.floor((row + down) * scale);
    context.fillRect(left, top, Math.ceil((column + right + columns) * scale) - left,
      Math.ceil((row + down + length) * scale) - top);
    from += columns > 1 ? columns * height : length;
  }
}

// A label map: each class in its colour, paler where it is not accepted.
export function paintMap(canvas, detail, colours) {
  const scale = prepared(canvas, detail.size), context = canvas.getContext("2d");
  for (const segment of detail.segments) paint(context, segment.mask, colours[segment.label] || "#888", scale);
  context.globalCompositeOperation = "destination-out";
  context.globalAlpha = 0.7;
  paint(context, detail.accepted, "#000", scale, [0, 0], true);
  context.globalAlpha = 1;
  context.globalCompositeOperation = "source-over";
}

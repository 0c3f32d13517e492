// The keys, as the help shows them.

import { key, make } from "./words.js";

const KEYS = [
  ["A or Enter", "accept the label; with edited boxes, save them"],
  ["X", "reject it: it is wrong, and nobody says what is right"],
  ["0 – 9", "the class that is marked with the number"],
  ["R", "any class, by typing its name"],
  ["S", "skip: nothing is said"],
  ["U", "undo what you said last"],
  ["J or →, K or ←", "next, previous"],
  ["G or Esc", "all items; Enter opens one"],
  ["/", "search names"],
  ["+ and −", "larger, smaller (or Ctrl and the wheel)"],
  ["M", "show or hide masks"],
  ["[ and ]", "choose a box"],
  ["Arrows", "move the chosen box by a pixel, with Shift by ten; with Alt resize it"],
  ["N", "new box: draw it with the mouse; N again puts one in the middle"],
  ["Del", "delete the chosen box"],
  ["P", "take a proposed box in, or leave a box out"],
  ["Z", "boxes as they were"],
  ["?", "this help"],
];

export function keyTable() {
  const rows = KEYS.map(([keys, what]) => {
    const parts = keys.split(/( or | and |, | – )/).map((part, place) => (place % 2 ? part : key(part)));
    return make("div", {}, make("dt", {}, ...parts), make("dd", {}, what));
  });
  return make("dl", {}, ...rows);
}

// What comes of a history may have characters that turn the text behind them around, which would
// make a sentence of ours say something else.

/** The characters. */
export const turning = /[\u202a-\u202e\u2066-\u2069]/g;

/** A text with such characters replaced by one that shows that they were there. */
export function readable(text: string): string {
  return text.replace(turning, "\ufffd");
}

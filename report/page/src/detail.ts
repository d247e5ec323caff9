// The detail of a block, as report/document/detail.go writes it: what the lines of a history
// have beside what the core says.

import { type Column, Recent, split, unzigzag } from "./columns";
import { type Core, Type } from "./core";
import type { Index } from "./document";

// The positions of columns in the part.
const enum At {
  Unit, Nanos, Templates, Values, Errors, Metas, Answers, Failures, Extras, Misses,
  Large, Long, Bytes, Names, Predictors, Fields,
}

// The numbers of templates that are none, and of the first that is one.
const enum Template { Same, None, Long, First }

// Holes of a template.
const enum Hole { Number = 0, Text = 1, Key = 2, End = 10 }

const maxBefore = 16;
const maxFields = 1000;
const largest = 248;

/** What a number is predicted by. */
const enum Predictor { LastOfAll, LastOfKey, NextOfKey, NextOfAll, AnswerOfKey, BeforeIt, LastAfter, LastAlike, Nothing }

/** What is known of numbers that belong together; by key is by number of the block, and 1. */
class Family {
  last = 0;
  most = 0;
  readonly lastOf: number[] = [];
  readonly mostOf: number[] = [];
  readonly after: (Map<number, number> | undefined)[] = []; // by key, by the number before
  readonly alike = new Map<number, number>();
}

/** What is known at a number of the block. */
class Model {
  private readonly answers: number[] = [];
  private first = 0;
  private before = 0;
  private begun = false;

  constructor(private readonly remembersAfter: boolean, private readonly remembersAlike: boolean) {}

  begin(): void {
    this.first = this.before = 0;
    this.begun = false;
  }

  predict(p: number, f: Family, key: number): number {
    switch (p) {
      case Predictor.LastOfAll: return f.last;
      case Predictor.LastOfKey: return f.lastOf[key + 1] ?? 0;
      case Predictor.NextOfKey: return (f.mostOf[key + 1] ?? 0) + 1;
      case Predictor.NextOfAll: return f.most + 1;
      case Predictor.AnswerOfKey: return this.answers[key + 1] ?? 0;
      case Predictor.BeforeIt: return this.before;
      case Predictor.LastAfter: return f.after[key + 1]?.get(this.before) ?? f.most + 1;
      case Predictor.LastAlike: return (this.begun ? f.alike.get(this.first) : undefined) ?? f.last;
    }
    return 0;
  }

  learn(f: Family, key: number, v: number): void {
    if (this.remembersAfter) (f.after[key + 1] ??= new Map()).set(this.before, v);
    if (this.remembersAlike && this.begun) f.alike.set(this.first, v);
    f.last = v;
    f.most = Math.max(f.most, v);
    f.lastOf[key + 1] = v;
    f.mostOf[key + 1] = Math.max(f.mostOf[key + 1] ?? 0, v);
    this.pass(v);
  }

  pass(v: number): void {
    this.before = v;
    if (!this.begun) {
      this.begun = true;
      this.first = v;
    }
  }

  answered(key: number, numbers: number[]): void {
    if (numbers.length > 0) this.answers[key + 1] = numbers[numbers.length - 1]!;
  }
}

/** A template: text, with a hole behind each piece but the last one. */
interface Made {
  pieces: string[];
  holes: Hole[];
  families: number[]; // of its numbers
  fields: Map<number, number[]>; // of its numbers, by function and type
}

/** A text of an op, and its numbers. */
interface Told { text: string; numbers: number[] }

const nothing: Told = { text: "", numbers: [] };

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The line of each op of a block, as the history has it, from its inflated detail. (Bytes that
 * are not UTF-8, which values may have, show as U+FFFD.) unit is how many nanoseconds a time of
 * the core is. */
export function readDetail(index: Index, unit: number, core: Core, part: Uint8Array): string[] {
  return new Reader(index, unit, core, split(part)).lines();
}

class Reader {
  private readonly templates: Made[] = [];
  private readonly familyNumbers = new Map<string, number>();
  private readonly families: Family[] = [new Family()];
  private readonly fieldOf = new Map<string, number>();
  private readonly fieldFamilies: number[] = [];
  private readonly contexts = new Map<string, Recent>();
  private readonly longs = new Map<string, Uint8Array>();
  private readonly predictors: Uint8Array;
  private readonly model: Model;

  constructor(private readonly index: Index, private readonly whole: number, private readonly core: Core, private readonly columns: Column[]) {
    this.predictors = this.at(At.Predictors).bytes;
    this.model = new Model(this.predictors.includes(Predictor.LastAfter), this.predictors.includes(Predictor.LastAlike));
  }

  private at(i: number): Column {
    const c = this.columns[i];
    if (!c) throw new Error("a block of the data lacks a column");
    return c;
  }

  lines(): string[] {
    const { core, index } = this;
    const n = core.block.ops;
    const values: Told[] = [], errors: string[] = [], metas: string[] = [];
    for (let i = 0; i < n; i++) {
      const type = core.type[i]!;
      const completion = type !== Type.Invoke && type !== Type.Event;
      this.model.begin();
      values.push(this.text(i, 0, completion ? At.Answers : At.Values, values));
      if (type === Type.OK) this.model.answered(core.local[i]!, values[i]!.numbers);
      errors.push(this.text(i, 1, completion ? At.Failures : At.Errors, values).text);
      metas.push(this.text(i, 2, completion ? At.Extras : At.Metas, values).text);
    }
    const functions = this.names(core.f, index.functions, index.others.function);
    const nodes = this.names(core.node, index.nodes, index.others.node);
    const unit = this.at(At.Unit).uint();
    const width = 32 - Math.clz32(1000 / unit - 1);
    const lines: string[] = [];
    for (let i = 0; i < n; i++) {
      const nanos = this.at(At.Nanos).bits(width) * unit;
      const units = core.time[i]!;
      const time = this.whole === 1 ? String(units) : units > 0 ? `${units}${String(nanos).padStart(3, "0")}` : String(nanos);
      const line = [`{"index":${core.block.first + i},"time":${time},"process":${core.process[i]},"type":"${typeNames[core.type[i]!]}","f":${quote(functions(i))}`];
      if (values[i]!.text) line.push(`,"value":${values[i]!.text}`);
      if (errors[i]) line.push(`,"error":${errors[i]}`);
      const node = nodes(i);
      if (node) line.push(`,"node":${quote(node)}`);
      if (metas[i]) line.push(`,"meta":${metas[i]}`);
      lines.push(line.join("") + "}");
    }
    return lines;
  }

  /** What gives the name of each op, in order, by its number; "" is none. */
  private names(numbers: Int32Array, names: string[], others: number): (i: number) => string {
    const own = new Map<number, string>();
    if (others >= 0) {
      numbers.forEach((n, i) => {
        if (n === others) own.set(i, decoder.decode(this.at(At.Names).take(this.at(At.Names).uint())));
      });
    }
    return (i) => own.get(i) ?? names[numbers[i]!] ?? "";
  }

  /** The next text of op i: kind is which of its texts. */
  private text(i: number, kind: number, ranks: At, values: Told[]): Told {
    const { core } = this;
    const f = core.f[i]!, type = core.type[i]!, local = core.local[i]!;
    const said = `${kind},${f},${type}`;
    const context = kind === 1 ? `${said},${core.error[i]}` : said;
    let recent = this.contexts.get(context);
    if (!recent) this.contexts.set(context, recent = new Recent(Template.Same, Template.None, Template.Long));
    let number = recent.at(this.at(ranks).byte());
    if (number < 0) {
      number = this.at(At.Misses).uint() - 1;
      if (number < 0) {
        number = Template.First + this.templates.length;
        this.templates.push(this.template(kind));
      }
      recent.add(number);
    }
    switch (number) {
      case Template.None:
        return nothing;
      case Template.Same: {
        const same = values[core.pair[i]! - core.block.first];
        if (!same) throw new Error("the data has a completion of nothing");
        for (const v of same.numbers) this.model.pass(v);
        return same;
      }
      case Template.Long:
        return { text: this.long(`${said},${local}`), numbers: [] };
    }
    const template = this.templates[number - Template.First];
    if (!template) throw new Error("the data has a template that is not in its block");
    return this.filled(template, f, type, i);
  }

  private filled(template: Made, f: number, type: number, i: number): Told {
    const local = this.core.local[i]!;
    const fields = this.fields(template, f, type);
    const numbers: number[] = [];
    let text = template.pieces[0]!;
    for (let h = 0; h < template.holes.length; h++) {
      const hole = template.holes[h]!;
      if (hole === Hole.Number) {
        const field = fields[numbers.length]!;
        const family = this.families[this.fieldFamilies[field]!]!;
        let wrong = this.at(At.Fields + field).byte();
        if (wrong >= largest) {
          let unit = 1, v = 0;
          for (let n = wrong - largest + 1; n > 0; n--, unit *= 256) v += this.at(At.Large).byte() * unit;
          wrong = v;
        }
        const v = this.model.predict(this.predictors[field]!, family, local) + unzigzag(wrong);
        this.model.learn(family, local, v);
        numbers.push(v);
        text += v;
      } else {
        const key = this.index.keys[this.core.key[i]!] ?? "";
        text += hole === Hole.Text ? `"${key}"` : key;
      }
      text += template.pieces[h + 1]!;
    }
    return { text, numbers };
  }

  /** The next template. */
  private template(kind: number): Made {
    const bytes: number[] = [];
    const column = this.at(At.Templates);
    const made: Made = { pieces: [], holes: [], families: [], fields: new Map() };
    for (;;) {
      const b = column.byte();
      if (b > Hole.Key && b !== Hole.End) {
        bytes.push(b);
        continue;
      }
      made.pieces.push(decoder.decode(Uint8Array.from(bytes)));
      if (b === Hole.End) return made;
      made.holes.push(b);
      if (b === Hole.Number) {
        const name = `${kind},${bytes.slice(-maxBefore).join()}`;
        let family = this.familyNumbers.get(name);
        if (family === undefined) {
          family = 0;
          if (this.families.length < maxFields) {
            family = this.families.length;
            this.families.push(new Family());
            this.familyNumbers.set(name, family);
          }
        }
        made.families.push(family);
      }
      bytes.length = 0;
    }
  }

  /** The fields of a template's numbers in ops of that function and type. */
  private fields(template: Made, f: number, type: number): number[] {
    const context = f * 5 + type;
    let fields = template.fields.get(context);
    if (fields) return fields;
    fields = template.families.map((family) => {
      const name = `${family},${context}`;
      let field = this.fieldOf.get(name);
      if (field === undefined) {
        field = 0;
        if (this.fieldFamilies.length < maxFields) {
          field = this.fieldFamilies.length;
          this.fieldFamilies.push(family);
          this.fieldOf.set(name, field);
        }
      }
      return field;
    });
    template.fields.set(context, fields);
    return fields;
  }

  /** A text that is told by what it shares with the last one of its context. */
  private long(context: string): string {
    const last = this.longs.get(context) ?? new Uint8Array();
    const lengths = this.at(At.Long);
    const begin = lengths.uint(), end = lengths.uint(), own = lengths.uint();
    const text = new Uint8Array(begin + own + end);
    text.set(last.subarray(0, begin));
    text.set(this.at(At.Bytes).take(own), begin);
    text.set(last.subarray(last.length - end), begin + own);
    this.longs.set(context, text);
    return decoder.decode(text);
  }
}

const typeNames = ["invoke", "ok", "fail", "info", "event"];

/** A name as a history has it, which escapes more than JSON asks for if it escapes at all. */
function quote(text: string): string {
  if (/^[ !#-[\]-\x7f]*$/.test(text)) return `"${text}"`;
  return JSON.stringify(text).replace(/[<>&\u2028\u2029]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

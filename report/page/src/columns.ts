// Columns of bytes, as report/document/columns.go writes them: what blocks of ops are made of.

/** The bytes of a deflate stream (RFC 1951), which may be a view of others. */
export async function inflate(packed: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new DecompressionStream("deflate-raw");
  const writer = stream.writable.getWriter();
  // What goes wrong in writing goes wrong in reading, and is told there.
  writer.write(packed).catch(() => {});
  writer.close().catch(() => {});
  return new Uint8Array(await new Response(stream.readable).arrayBuffer());
}

/** A column that is read from its begin to its end. */
export class Column {
  private at = 0;
  private rest = 0;
  private left = 0; // bits in rest

  constructor(readonly bytes: Uint8Array) {}

  get done(): boolean { return this.at >= this.bytes.length; }

  byte(): number {
    if (this.at >= this.bytes.length) throw new Error("a column of the data ends too early");
    return this.bytes[this.at++]!;
  }

  /** A number of 7 bits a byte, the lowest first. */
  uint(): number {
    let b = this.byte();
    if (b < 0x80) return b;
    let v = b & 0x7f;
    for (let unit = 0x80; ; unit *= 0x80) {
      b = this.byte();
      v += (b & 0x7f) * unit;
      if (b < 0x80) return v;
    }
  }

  int(): number { return unzigzag(this.uint()); }

  /** A number of n bits, the lowest first. */
  bits(n: number): number {
    if (n > 24) {
      const low = this.bits(24);
      return low + this.bits(n - 24) * 0x1000000;
    }
    while (this.left < n) {
      this.rest |= this.byte() << this.left;
      this.left += 8;
    }
    const v = this.rest & ((1 << n) - 1);
    this.rest >>>= n;
    this.left -= n;
    return v;
  }

  take(n: number): Uint8Array {
    if (this.at + n > this.bytes.length) throw new Error("a column of the data ends too early");
    this.at += n;
    return this.bytes.subarray(this.at - n, this.at);
  }

  /** A number that is mostly a byte; larger ones are in wides. */
  small(wides: Column): number {
    const v = this.byte();
    return v < 255 ? v : wides.uint();
  }

  /** A number that is mostly what it was. */
  sticky(wides: Column, last: number): number {
    const v = this.small(wides);
    return v === 0 ? last : v - 2;
  }

  /** A number as a symbol and those bits that the symbol does not tell. */
  duration(rest: Column): number {
    const symbol = this.byte();
    if (symbol < 16) return symbol;
    if (symbol === 255) return rest.bits(56);
    const n = (symbol >> 3) - 1;
    return (symbol - 8 * n) * 2 ** n + rest.bits(n);
  }
}

/** 0, -1, 1, -2, ... of 0, 1, 2, 3, ... */
export function unzigzag(v: number): number {
  return v % 2 === 0 ? v / 2 : -(v + 1) / 2;
}

/** The columns of a part. */
export function split(part: Uint8Array): Column[] {
  const head = new Column(part);
  const lengths: number[] = [];
  for (let n = head.uint(); n > 0; n--) lengths.push(head.uint());
  return lengths.map((n) => new Column(head.take(n)));
}

/** Numbers by how recently they came, of which there are at most 255. */
export class Recent {
  private readonly list = new Int32Array(255);
  private length = 0;

  constructor(...numbers: number[]) {
    this.list.set(numbers);
    this.length = numbers.length;
  }

  /** The number of that rank, which is the first now; -1 if the rank says that it has none. */
  at(rank: number): number {
    if (rank === 255) return -1;
    if (rank >= this.length) throw new Error("the data has a rank that nothing has");
    const list = this.list;
    const n = list[rank]!;
    for (let i = rank; i > 0; i--) list[i] = list[i - 1]!;
    list[0] = n;
    return n;
  }

  /** Puts a number without a rank to the front. */
  add(n: number): void {
    if (this.length < 255) this.length++;
    this.list.copyWithin(1, 0, this.length - 1);
    this.list[0] = n;
  }
}

/** A Recent of numbers that begin with 0, and are new one after the other. */
export class Numbering {
  private readonly recent = new Recent();
  private count = 0;

  next(ranks: Column, misses: Column): number {
    let n = this.recent.at(ranks.byte());
    if (n < 0) {
      n = misses.uint() - 1;
      if (n < 0) n = this.count++;
      this.recent.add(n);
    }
    return n;
  }
}

/**
 * Bytes in order, in few objects. Large pieces are kept as they come; small ones are copied together, because a
 * peer that sends one byte a frame must not make us keep an object of a hundred bytes for each.
 */
export class ByteQueue {
  readonly #chunks: Chunk[] = [];
  #length = 0;
  #nextBlock = SMALLEST_BLOCK;

  get length(): number {
    return this.#length;
  }

  /** The queue may keep a view: the caller does not write into `bytes` again. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#length += bytes.length;
    // A view that pins a much larger buffer would cost more than its length.
    if (bytes.length >= LARGE && bytes.length * 2 >= bytes.buffer.byteLength) {
      this.#chunks.push({ bytes, start: 0, end: bytes.length, growable: false, isOwn: false });
      this.#nextBlock = SMALLEST_BLOCK;
    } else {
      this.#copy(bytes);
    }
  }

  /** The next bytes, one contiguous piece of at most `most`; undefined when there are none. */
  take(most: number): Uint8Array | undefined {
    const head = this.#chunks[0];
    if (head === undefined || most <= 0) return undefined;
    const start = head.start;
    head.start = Math.min(head.end, start + most);
    if (head.start === head.end) this.#chunks.shift();
    this.#length -= head.start - start;
    return head.bytes.subarray(start, head.start);
  }

  /** Copies what was kept as a view: from here on callers may write into what they pushed. */
  own(): void {
    for (const chunk of this.#chunks) {
      if (chunk.isOwn) continue;
      chunk.bytes = chunk.bytes.slice(chunk.start, chunk.end);
      chunk.end -= chunk.start;
      chunk.start = 0;
      chunk.isOwn = true;
    }
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#length = 0;
  }

  #copy(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      const tail = this.#growableTail() ?? this.#addBlock(rest.length);
      const part = rest.subarray(0, tail.bytes.length - tail.end);
      tail.bytes.set(part, tail.end);
      tail.end += part.length;
      rest = rest.subarray(part.length);
    }
  }

  #growableTail(): Chunk | undefined {
    const tail = this.#chunks.at(-1);
    return tail?.growable && tail.end < tail.bytes.length ? tail : undefined;
  }

  #addBlock(least: number): Chunk {
    const size = Math.max(this.#nextBlock, Math.min(least, LARGEST_BLOCK));
    this.#nextBlock = Math.min(size * 2, LARGEST_BLOCK);
    const block: Chunk = { bytes: new Uint8Array(size), start: 0, end: 0, growable: true, isOwn: true };
    this.#chunks.push(block);
    return block;
  }
}

interface Chunk {
  bytes: Uint8Array;
  start: number;
  end: number;
  /** Ours to append to behind `end`. */
  readonly growable: boolean;
  isOwn: boolean;
}

const LARGE = 2_048;
const SMALLEST_BLOCK = 256;
const LARGEST_BLOCK = 16_384;

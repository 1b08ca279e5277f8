/** The parser of `ws`, which the package exports and its published types leave out. */
import type { Writable } from 'node:stream';

declare module 'ws' {
  export class Receiver extends Writable {
    constructor(options: {
      readonly isServer: boolean;
      readonly maxPayload: number;
      readonly maxFragments: number;
      readonly maxBufferedChunks: number;
      readonly skipUTF8Validation: boolean;
    });
  }
}

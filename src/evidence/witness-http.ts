/** A witness over HTTP. What it says is bounded in size and time; what of it is true is for others to find out. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { ShellstreamError } from '../../protocol/errors.ts';
import { MAX_WITNESS_ANSWER, parseWitnessAnswer, type WitnessAnswer } from '../../protocol/evidence/index.ts';
import type { Clock } from '../base/clock.ts';

/** @throws ShellstreamError CONNECTION_LOST: no whole answer in time; MALFORMED: none that the specification knows */
export type AskWitness = (body: Uint8Array) => Promise<WitnessAnswer>;

/** @param url the witness's submission prefix. @param timeoutMs for the whole of a question, connecting included. */
export function witnessAt(url: string, timeoutMs: number, clock: Clock): AskWitness {
  const target = new URL(`${url.replace(/\/$/, '')}/add-checkpoint`);
  return (body) => ask(target, body, timeoutMs, clock);
}

function ask(target: URL, body: Uint8Array, timeoutMs: number, clock: Clock): Promise<WitnessAnswer> {
  return new Promise((resolve, reject) => {
    const request = (target.protocol === 'https:' ? httpsRequest : httpRequest)(target, {
      method: 'POST',
      agent: false,
      maxHeaderSize: MAX_HEADER_BYTES,
      headers: { 'Content-Type': 'application/octet-stream', 'Content-Length': body.length },
    });
    const timer = clock.after(timeoutMs, () => giveUp('no answer in time'));
    request.on('error', (error) => giveUp(error.message, error));
    request.once('response', (response) => read(response).then(settle, giveUpWith));
    request.end(body);

    function settle({ status, type, bytes }: Answer): void {
      timer.cancel();
      request.destroy();
      try {
        resolve(parseWitnessAnswer(status, type, bytes));
      } catch (error) {
        reject(error);
      }
    }

    function giveUpWith(error: unknown): void {
      giveUp(error instanceof Error ? error.message : 'the answer broke off', error);
    }

    function giveUp(why: string, cause?: unknown): void {
      timer.cancel();
      request.destroy();
      reject(new ShellstreamError('CONNECTION_LOST', why, { cause }));
    }
  });
}

interface Answer {
  readonly status: number;
  readonly type: string | undefined;
  readonly bytes: Uint8Array;
}

async function read(response: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    // An answer without an end would fill the gateway's memory.
    if (length > MAX_WITNESS_ANSWER) throw new ShellstreamError('MALFORMED', 'an answer that is too long');
    chunks.push(chunk);
  }
  return {
    status: response.statusCode ?? 0,
    type: response.headers['content-type'],
    bytes: new Uint8Array(Buffer.concat(chunks)),
  };
}

const MAX_HEADER_BYTES = 8_192;

/**
 * Questions, answers and news over a link, both ways at once. It keeps order: what one end says first, the other hears
 * first. An end that says what makes no sense is cut off: between processes of one program that is a fault or an attack.
 */
import { ShellstreamError } from '../../../protocol/errors.ts';
import type { Reason } from '../../../protocol/reasons.ts';
import type { Clock, Timer } from '../../base/clock.ts';
import type { Link } from '../../link/index.ts';
import type { Message } from './messages.ts';

/** One end's half: `Out` it says, `In` it hears. */
export interface Dialect<Out, In extends { readonly case: string }> {
  encode(id: number, body: Out): Uint8Array;
  /** Throws MALFORMED. */
  decode(bytes: Uint8Array): Message<In>;
  /** What a body is in this direction. */
  kindOf(body: In): 'question' | 'answer' | 'news';
  /** For an answer that says that it failed. */
  failed(error: unknown): Out;
  /** The failure that an answer tells, if it does. */
  failure(body: In): ShellstreamError | undefined;
}

export interface ConversationParts<Out, In extends { readonly case: string }> {
  readonly link: Link;
  readonly clock: Clock;
  readonly dialect: Dialect<Out, In>;
  /** Called before anything is said, for what must be said before it; while that is said it is called again. */
  readonly beforeSaying?: () => void;
  /**
   * Questions of the other end that are worked on at once; more of them wait unread, and so do its answers. So it is for
   * an end that is not trusted, and whose questions are answered without asking it back.
   */
  readonly mostAsked?: number;
  /** Rejects to answer with the failure. */
  readonly answer: (question: In, id: number) => Promise<Out>;
  readonly hear: (news: In) => void;
  /** Once: the link is gone, and every question with it. */
  readonly onClose: (reason: Reason, detail: string | undefined) => void;
}

export class Conversation<Out, In extends { readonly case: string }> {
  readonly #parts: ConversationParts<Out, In>;
  readonly #waiting = new Map<number, { resolve(answer: In): void; reject(error: Error): void; timer?: Timer }>();
  #lastId = 0;
  #asked = 0;
  #isOver = false;

  constructor(parts: ConversationParts<Out, In>) {
    this.#parts = parts;
    parts.link.onClose((reason, detail) => this.#closed(reason, detail));
    parts.link.onRecord((record) => this.#receive(record));
  }

  /** @throws ShellstreamError CONNECTION_LOST when the other end goes before it answers, OVERLOADED when it takes too long */
  ask(
    question: Out,
    options: { readonly timeoutMs?: number; readonly onSent?: (id: number) => void } = {},
  ): Promise<In> {
    if (this.#isOver) return Promise.reject(new ShellstreamError('CONNECTION_LOST', 'the other process is gone'));
    this.#parts.beforeSaying?.();
    const id = this.#nextId();
    return new Promise((resolve, reject) => {
      const record = this.#parts.dialect.encode(id, question);
      const { timeoutMs } = options;
      const timer =
        timeoutMs === undefined
          ? {}
          : {
              timer: this.#parts.clock.after(timeoutMs, () =>
                this.#settle(id, new ShellstreamError('OVERLOADED', 'the other process does not answer')),
              ),
            };
      this.#waiting.set(id, { resolve, reject, ...timer });
      this.#parts.link.send(record);
      options.onSent?.(id);
    });
  }

  tell(news: Out): void {
    if (!this.#isOver) this.#say(0, news);
  }

  close(): void {
    this.#parts.beforeSaying?.();
    this.#parts.link.close();
  }

  #say(id: number, body: Out): void {
    this.#parts.beforeSaying?.();
    this.#parts.link.send(this.#parts.dialect.encode(id, body));
  }

  #nextId(): number {
    do this.#lastId = this.#lastId >= MAX_ID ? 1 : this.#lastId + 1;
    while (this.#waiting.has(this.#lastId));
    return this.#lastId;
  }

  #receive(record: Uint8Array): void {
    const { dialect, hear, link } = this.#parts;
    try {
      const { id, body } = dialect.decode(record);
      switch (dialect.kindOf(body)) {
        case 'news':
          if (id !== 0) throw new ShellstreamError('MALFORMED', `${body.case} with an id`);
          return hear(body);
        case 'answer':
          // One that came too late has nobody left to hear it.
          return this.#settle(id, dialect.failure(body) ?? body);
        case 'question':
          if (id === 0) throw new ShellstreamError('MALFORMED', `${body.case} without an id`);
          return this.#answer(id, body);
      }
    } catch (error) {
      link.close();
      this.#closed('MALFORMED', error instanceof Error ? error.message : String(error));
    }
  }

  #answer(id: number, question: In): void {
    const { dialect, answer, link, mostAsked = Number.POSITIVE_INFINITY } = this.#parts;
    this.#asked += 1;
    if (this.#asked === mostAsked) link.pause();
    answer(question, id)
      .catch((error: unknown) => dialect.failed(error))
      .then((body) => {
        if (!this.#isOver) this.#say(id, body);
        this.#asked -= 1;
        if (this.#asked === mostAsked - 1) link.resume();
      })
      // An answer that cannot be said: the other end would wait for ever.
      .catch((error: unknown) => {
        link.close();
        this.#closed('INTERNAL', error instanceof Error ? error.message : String(error));
      });
  }

  #settle(id: number, answer: In | ShellstreamError): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    waiting.timer?.cancel();
    if (answer instanceof ShellstreamError) waiting.reject(answer);
    else waiting.resolve(answer);
  }

  #closed(reason: Reason, detail: string | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const id of [...this.#waiting.keys()]) {
      this.#settle(id, new ShellstreamError('CONNECTION_LOST', 'the other process went away'));
    }
    this.#parts.onClose(reason, detail);
  }
}

const MAX_ID = 0xffff_ffff;

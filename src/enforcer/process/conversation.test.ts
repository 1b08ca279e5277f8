/** What goes over the border in which order, and what an end does whose other end says too much, too little or nonsense. */
import { afterEach, describe, expect, it } from 'vitest';
import { reasonOf, ShellstreamError } from '../../../protocol/errors.ts';
import { SimulatedClock } from '../../base/simulated-clock.ts';
import { type Link, memoryLinkPair } from '../../link/index.ts';
import { Conversation, type Dialect } from './conversation.ts';

interface Word {
  readonly case: 'question' | 'answer' | 'news' | 'failed';
  readonly text: string;
}

const DIALECT: Dialect<Word, Word> = {
  encode: (id, word) => new TextEncoder().encode(JSON.stringify({ id, body: word })),
  decode: (bytes) => {
    try {
      return JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      throw new ShellstreamError('MALFORMED', 'no word');
    }
  },
  kindOf: ({ case: kind }) => (kind === 'failed' ? 'answer' : kind),
  failed: (error) => ({ case: 'failed', text: reasonOf(error) }),
  failure: ({ case: kind, text }) => (kind === 'failed' ? new ShellstreamError('POSTURE_CHANGED', text) : undefined),
};

const clock = new SimulatedClock();
const links: Link[] = [];
afterEach(() => {
  for (const link of links.splice(0)) link.close();
});

interface Options {
  readonly answer?: (text: string) => Promise<Word>;
  readonly mostAsked?: number;
  readonly beforeSaying?: () => void;
}

/** One end under test; the other says and hears words as they are. */
function open({ answer, ...options }: Options = {}) {
  const pair = memoryLinkPair({ clock });
  links.push(pair.initiator, pair.responder);
  const told: string[] = [];
  const closed: string[] = [];
  const conversation = new Conversation<Word, Word>({
    link: pair.responder,
    clock,
    dialect: DIALECT,
    answer: async ({ text }) => (await answer?.(text)) ?? word('answer', `${text}!`),
    hear: ({ text }) => {
      if (text === 'nonsense') throw new ShellstreamError('MALFORMED', text);
      told.push(text);
    },
    onClose: (reason) => closed.push(reason),
    ...options,
  });
  const heard: { readonly id: number; readonly body: Word }[] = [];
  pair.initiator.onRecord((record) => void heard.push(DIALECT.decode(record)));
  const say = (id: number, body: Word): void => void pair.initiator.send(DIALECT.encode(id, body));
  return { conversation, pair, told, closed, heard, say };
}

const word = (kind: Word['case'], text: string): Word => ({ case: kind, text });
const settled = (): Promise<void> => clock.advance(0);

describe('a question', () => {
  it('is answered by the answer of its id, whatever order they come in', async () => {
    const { conversation, heard, say } = open();
    const answers = ['a', 'b', 'c'].map((text) => conversation.ask(word('question', text)));
    await settled();
    for (const { id, body } of [...heard].reverse()) say(id, word('answer', body.text.toUpperCase()));
    expect((await Promise.all(answers)).map(({ text }) => text)).toEqual(['A', 'B', 'C']);
  });

  it('fails with what the other end says', async () => {
    const { conversation, say } = open();
    const answer = conversation.ask(word('question', 'a'));
    say(1, word('failed', 'why'));
    await expect(answer).rejects.toMatchObject({ reason: 'POSTURE_CHANGED' });
  });

  it('that is never answered fails when its time is over; the answer that comes later is nobody’s', async () => {
    const { conversation, say, closed } = open();
    const answer = conversation.ask(word('question', 'a'), { timeoutMs: 5_000 });
    const failure = answer.catch(reasonOf);
    await clock.advance(5_000);
    expect(await failure).toBe('OVERLOADED');
    say(1, word('answer', 'late'));
    await settled();
    expect(closed).toEqual([]);
    expect(clock.pending).toEqual([]);
  });

  it('that is answered in time leaves no timer behind', async () => {
    const { conversation, say } = open();
    const answer = conversation.ask(word('question', 'a'), { timeoutMs: 5_000 });
    say(1, word('answer', 'A'));
    await answer;
    expect(clock.pending).toEqual([]);
  });

  it('that cannot be said leaves neither timer nor waiting behind', async () => {
    const pair = memoryLinkPair({ clock });
    links.push(pair.initiator, pair.responder);
    const mute: Dialect<Word, Word> = {
      ...DIALECT,
      encode: () => {
        throw new ShellstreamError('INTERNAL', 'no such word');
      },
    };
    const conversation = new Conversation<Word, Word>({
      link: pair.responder,
      clock,
      dialect: mute,
      answer: async () => word('answer', ''),
      hear: () => undefined,
      onClose: () => undefined,
    });
    await expect(conversation.ask(word('question', 'a'), { timeoutMs: 5_000 })).rejects.toMatchObject({
      reason: 'INTERNAL',
    });
    expect(clock.pending).toEqual([]);
  });

  it('fails when the other end goes, in the middle too, and so does every one after it', async () => {
    const { conversation, pair, closed } = open();
    const answers = [conversation.ask(word('question', 'a')), conversation.ask(word('question', 'b'))];
    const failures = answers.map((answer) => answer.catch(reasonOf));
    await settled();
    pair.cut();
    expect(await Promise.all(failures)).toEqual(['CONNECTION_LOST', 'CONNECTION_LOST']);
    await expect(conversation.ask(word('question', 'c'))).rejects.toMatchObject({ reason: 'CONNECTION_LOST' });
    expect(closed).toEqual(['CONNECTION_LOST']);
  });
});

describe('attack: the other end', () => {
  it('answers what nobody asked, and what it answered before: nothing happens', async () => {
    const { conversation, say, closed } = open();
    for (const id of [0, 1, 7, 0xffff_ffff]) say(id, word('answer', 'uninvited'));
    await settled();
    const answer = conversation.ask(word('question', 'a'));
    say(2, word('answer', 'of another'));
    say(1, word('answer', 'mine'));
    say(1, word('answer', 'again'));
    expect(await answer).toEqual(word('answer', 'mine'));
    expect(closed).toEqual([]);
  });

  it.each([
    ['bytes that are nothing', Uint8Array.of(1, 2, 3)],
    ['a question without an id', DIALECT.encode(0, word('question', 'a'))],
    ['news with an id', DIALECT.encode(1, word('news', 'a'))],
    ['news that make no sense', DIALECT.encode(0, word('news', 'nonsense'))],
  ] as const)('says %s: it is cut off, told once, and nothing more of it is heard', async (_, bytes) => {
    const { pair, closed, told, say } = open();
    say(0, word('news', 'before'));
    pair.initiator.send(bytes);
    pair.initiator.send(DIALECT.encode(0, word('news', 'after')));
    await settled();
    expect(told).toEqual(['before']);
    expect(closed).toEqual(['MALFORMED']);
    expect(pair.initiator.isClosed).toBe(true);
  });

  it('floods with questions: so many are worked on at once, the others wait unread, and all are answered', async () => {
    let now = 0;
    let most = 0;
    const gates: (() => void)[] = [];
    const { heard, say } = open({
      mostAsked: 8,
      answer: async (text) => {
        now += 1;
        most = Math.max(most, now);
        await new Promise<void>((resolve) => gates.push(resolve));
        now -= 1;
        return word('answer', text);
      },
    });
    for (let id = 1; id <= 100; id++) say(id, word('question', String(id)));
    await settled();
    expect(now).toBe(8);
    while (heard.length < 100) {
      gates.shift()?.();
      await settled();
    }
    expect(most).toBe(8);
    expect(heard.map(({ id }) => id)).toEqual(Array.from({ length: 100 }, (_, at) => at + 1));
  });

  it('asks what has an answer that cannot be said: it is cut off, for it would wait for ever', async () => {
    const loop: { self?: unknown } = {};
    loop.self = loop;
    const { closed, say } = open({ answer: async () => Object.assign(word('answer', ''), { loop }) });
    say(1, word('question', 'a'));
    await settled();
    expect(closed).toEqual(['INTERNAL']);
  });

  it('uses one id for two questions at once: each is answered under it', async () => {
    const { heard, say } = open();
    say(5, word('question', 'a'));
    say(5, word('question', 'b'));
    await settled();
    expect(heard.map(({ id, body }) => [id, body.text])).toEqual([
      [5, 'a!'],
      [5, 'b!'],
    ]);
  });
});

describe('order', () => {
  it('what is told before an answer is decided is heard before the answer', async () => {
    let decide = (): void => undefined;
    const { conversation, heard, say } = open({
      answer: (text) =>
        new Promise((resolve) => {
          decide = () => resolve(word('answer', text));
        }),
    });
    say(1, word('question', 'admit'));
    await settled();
    conversation.tell(word('news', 'posture 2'));
    decide();
    await settled();
    expect(heard.map(({ body }) => body.text)).toEqual(['posture 2', 'admit']);
  });

  it('news and questions of one end are heard as they were said', async () => {
    const { conversation, heard } = open();
    conversation.tell(word('news', '1'));
    void conversation.ask(word('question', '2')).catch(() => undefined);
    conversation.tell(word('news', '3'));
    await settled();
    expect(heard.map(({ body }) => body.text)).toEqual(['1', '2', '3']);
  });
});

describe('what must be said first', () => {
  it('is said before each question, each answer, each piece of news and the end, and calls for nothing more', async () => {
    const more = ['4', '3', '2', '1'];
    let isSaying = false;
    const { conversation, heard, say, closed } = open({
      beforeSaying: () => {
        if (isSaying) return;
        isSaying = true;
        conversation.tell(word('news', `first ${more.pop()}`));
        isSaying = false;
      },
    });
    void conversation.ask(word('question', 'a')).catch(() => undefined);
    conversation.tell(word('news', 'b'));
    say(1, word('question', 'c'));
    await settled();
    conversation.close();
    await settled();
    expect(heard.map(({ body }) => body.text)).toEqual(['first 1', 'a', 'first 2', 'b', 'first 3', 'c!', 'first 4']);
    expect(closed).toEqual(['CLOSED']);
  });
});

it('an end that asks back for each question may be asked more than the other works on at once', async () => {
  const pair = memoryLinkPair({ clock });
  links.push(pair.initiator, pair.responder);
  const common = { clock, dialect: DIALECT, hear: () => undefined, onClose: () => undefined };
  const enforcer = new Conversation<Word, Word>({
    ...common,
    link: pair.initiator,
    mostAsked: 8,
    answer: async ({ text }) => word('answer', text),
  });
  // As a terminator that is told to end a session asks for its release.
  const terminator: Conversation<Word, Word> = new Conversation<Word, Word>({
    ...common,
    link: pair.responder,
    answer: ({ text }) => terminator.ask(word('question', text)),
  });
  const orders = Array.from({ length: 2_000 }, (_, at) =>
    enforcer.ask(word('question', `end ${at}`), { timeoutMs: 5_000 }),
  );
  await clock.advance(5_000);
  expect((await Promise.allSettled(orders)).filter(({ status }) => status === 'rejected')).toEqual([]);
});

import { join } from 'node:path';
import type { Entry } from '../../certs-dev/index.ts';
import type { EventLog } from '../lab/events.ts';
import { createLab, HOST, type Lab } from '../lab/lab.ts';
import { Capture } from '../support/capture.ts';
import { type Packet, SYN, TCP } from '../support/pcap.ts';
import type { Running } from '../support/processes.ts';
import { tryFlippedBit } from './preshared-key.ts';

/** What the steps share: the lab, what is on its wires, who acts in it. */
export interface Stage extends AsyncDisposable {
  readonly lab: Lab;
  /** Taken at site-a's end of the wire: site-b seen from outside. */
  readonly wan: Capture;
  /** Taken at the host behind site-b. */
  readonly lan: Capture;
  readonly people: { readonly apprentice: Entry; readonly thief: Entry };
  /** Set by the steps that start them, and again after a restart. */
  readonly cast: { eventsOfA?: EventLog; eventsOfB?: EventLog; operator?: Running };
  /** Tried beside the other steps, from the start. */
  readonly flippedBit: ReturnType<typeof tryFlippedBit>;
  /** What is to go with the stage. */
  own<T extends AsyncDisposable>(resource: T): T;
}

/** Seconds until a dead gateway's flows lapse. */
export const LEASE_SECONDS = 3;

export async function openStage(): Promise<Stage> {
  await using parts = new AsyncDisposableStack();
  const lab = parts.use(await createLab({ leaseSeconds: LEASE_SECONDS }));
  const flippedBit = tryFlippedBit(lab.directory);
  // Looked at by its own step; the stage must not go before it is over.
  parts.defer(async () => void (await flippedBit.catch(() => undefined)));
  flippedBit.catch(() => undefined);
  const stage = {
    lab,
    flippedBit,
    wan: parts.use(await Capture.start(lab.a.namespace, 'wan', join(lab.directory, 'wan.pcap'))),
    lan: parts.use(await Capture.start(lab.host, 'lan', join(lab.directory, 'lan.pcap'))),
    people: {
      apprentice: await lab.a.person({ path: '/people/apprentice', tier: 'apprentice' }),
      thief: await lab.a.person({ path: '/people/thief', tier: 'apprentice' }),
    },
    cast: {},
  };
  const owned = parts.move();
  return { ...stage, own: (resource) => owned.use(resource), [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Connection attempts that arrived at the host, from behind site-a, at a port. */
export async function attemptsAt(stage: Stage, port: number): Promise<number> {
  return (await stage.lan.packets()).filter((packet) => isAttempt(packet, port)).length;
}

function isAttempt({ ip }: Packet, port: number): boolean {
  return ip?.protocol === TCP && ip.destination === HOST && ip.destinationPort === port && ip.flags === SYN;
}

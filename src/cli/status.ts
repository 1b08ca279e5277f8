/** `shellstream status`: what a running gateway is, holds and lacks. */
import type { Command } from 'commander';
import type { EvidenceView } from '../control/evidence-desk.ts';
import { type Health, healthOf } from '../control/health.ts';
import type { GatewayStatus, PeerView, PostureView } from '../control/ports.ts';
import { asksGateway, type ConsoleOptions, withGateway } from './console.ts';
import { duration, json, pairs, printable, table } from './output.ts';
import type { CliWorld } from './world.ts';

export function addStatus(program: Command, world: CliWorld): void {
  asksGateway(program.command('status'))
    .description('what the gateway is, its posture, identity, tunnel, peers and problems')
    .action((options: ConsoleOptions) =>
      withGateway(world, options, async (gateway) => {
        const status = await gateway.status();
        const peers = await gateway.peers();
        const health = healthOf(status);
        world.out.write(options.json ? json({ ...status, peers, health }) : report(status, peers, health));
      }),
    );
}

/** Also `posture get`. */
export function postureReport(posture: PostureView, nowMs: number): string {
  const rows = posture.sources.map((source) => [
    source.governs ? '*' : '',
    source.source,
    String(source.level),
    String(source.epoch),
    duration(nowMs - source.sinceMs),
    expiryText(source.expiresAtMs, nowMs),
    source.setAside ? `set aside: ${source.reason}` : source.reason,
  ]);
  const level = `posture level ${posture.effective} for ${duration(nowMs - posture.sinceMs)} (epoch ${posture.epoch})\n`;
  const problems =
    posture.problems.map((problem) => `${printable(problem)}\n`).join('') + unconfirmedText(posture, nowMs);
  if (rows.length === 0) return `${level}no source says anything\n${problems}`;
  return level + table(['', 'SOURCE', 'LEVEL', 'EPOCH', 'FOR', 'EXPIRES', 'REASON'], rows) + problems;
}

function unconfirmedText({ unconfirmed }: PostureView, nowMs: number): string {
  if (unconfirmed === undefined) return '';
  const left = duration(Math.max(unconfirmed.untilMs - nowMs, 0));
  const { formerLevel, epoch } = unconfirmed;
  return `the console goes back to ${formerLevel} in ${left}, unless: shellstream posture confirm --epoch ${epoch}\n`;
}

function expiryText(atMs: number | undefined, nowMs: number): string {
  if (atMs === undefined) return 'until withdrawn';
  return atMs > nowMs ? `in ${duration(atMs - nowMs)}` : 'expired';
}

function report(status: GatewayStatus, peers: readonly PeerView[], health: Health): string {
  const { nowMs, identity, tunnel, counts, accord } = status;
  const facts = pairs([
    ['instance', `${status.instance}, version ${status.version}, up ${duration(nowMs - status.startedAtMs)}`],
    ['site', status.site],
    ['identity', `${status.spiffeId ?? 'none'}${expiry(identity.svidExpiresAtMs, nowMs)}`],
    ['bundles', identity.bundles.map((bundle) => bundleText(bundle, nowMs)).join(', ') || 'none'],
    ['accord', `${accord.id} serial ${accord.serial}, ${accord.hash.slice(0, 16)}`],
    ['tunnel', `${tunnel.driver} (${tunnel.why})${tunnel.device && `, ${tunnel.device} on UDP ${tunnel.listenPort}`}`],
    ['evidence', evidenceText(status.evidence)],
    ['quartermaster', quartermasterText(status.evidence.quartermaster, nowMs)],
    ...meshFacts(status),
    ['filter', status.interfaces.map(({ name, kind }) => `${name} (${kind})`).join(', ') || 'attached nowhere'],
    ['lease', status.leaseRemainingMs === undefined ? 'none' : `${duration(status.leaseRemainingMs)} left`],
    [
      'now',
      `${counts.sessions} sessions, ${counts.streams} streams, ${counts.tunnelPeers} tunnel peers, ` +
        `${counts.flows} flows, ${counts.pendingHandshakes} handshakes under way, ${counts.terminators} terminators`,
    ],
  ]);
  const sections = [facts, postureReport(status.posture, nowMs)];
  if (peers.length > 0) sections.push(peerTable(peers, nowMs));
  if (health.problems.length > 0) {
    sections.push(
      table(
        ['PROBLEMS'],
        health.problems.map((problem) => [problem]),
      ),
    );
  }
  return sections.join('\n');
}

function meshFacts({ translations, forwards }: GatewayStatus): (readonly [string, string])[] {
  const translated = translations.map(({ internal, external }) => `${internal} is ${external} to peers`);
  const forwarded = forwards.map(({ from, to, stands }) => `${from} to ${to}${stands ? '' : ' (not both connected)'}`);
  return [
    ...(translated.length === 0 ? [] : [['translated', translated.join(', ')] as const]),
    ...(forwarded.length === 0 ? [] : [['forwards', forwarded.join(', ')] as const]),
  ];
}

function evidenceText(evidence: EvidenceView): string {
  const { state, origin, entries, published, usedBytes, budgetBytes, verifierKeys, quorum, witnesses, firstEntry } =
    evidence;
  if (state === 'off') return 'off';
  const used = Math.floor((100 * usedBytes) / Math.max(1, budgetBytes));
  const room = `${used} % of its room used`;
  const since = firstEntry === 0 ? '' : ` (from ${firstEntry} on)`;
  const facts = `${state}, ${entries} entries${since} in ${origin}, ${published} published, ${room}`;
  const cosigning = witnesses.filter(({ problem }) => problem === undefined).length;
  const witnessed = witnesses.length === 0 ? '' : `, ${cosigning} of ${witnesses.length} witnesses, ${quorum} needed`;
  return `${facts}${witnessed}; key ${verifierKeys.join(', ')}`;
}

function quartermasterText(view: EvidenceView['quartermaster'], nowMs: number): string {
  if (view === undefined) return 'none';
  const { place, state, acknowledged, behind, behindBytes, awaySinceMs, problem, forgotten } = view;
  const away = awaySinceMs === undefined ? state : `not reached for ${duration(Math.max(0, nowMs - awaySinceMs))}`;
  const lag = behind === 0 ? 'nothing behind' : `${behind} entries behind, about ${Math.ceil(behindBytes / 1_024)} KiB`;
  const lost = forgotten === 0 ? '' : `, lost what it had acknowledged ${forgotten} times`;
  return `${place}, ${away}, acknowledged below ${acknowledged}, ${lag}${lost}${problem && `: ${problem}`}`;
}

function peerTable(peers: readonly PeerView[], nowMs: number): string {
  return table(
    ['PEER', 'STATE', 'ADDRESS', 'SESSION', 'LAST FAILURE'],
    peers.map((peer) => [
      peer.name,
      peerState(peer, nowMs),
      peer.address ?? 'dials us',
      peer.session ?? '',
      peer.lastFailure === undefined
        ? ''
        : `${peer.lastFailure.reason}, ${duration(nowMs - peer.lastFailure.atMs)} ago: ${peer.lastFailure.detail}`,
    ]),
  );
}

function peerState({ state, nextDialAtMs, hold, carried }: PeerView, nowMs: number): string {
  if (carried) return `${state}, carried`;
  if (hold !== undefined) return `held for ${duration(nowMs - hold.sinceMs)} (${hold.id})`;
  if (nextDialAtMs !== undefined) return `${state}, dials in ${duration(Math.max(0, nextDialAtMs - nowMs))}`;
  return state;
}

function bundleText(bundle: GatewayStatus['identity']['bundles'][number], nowMs: number): string {
  return `${bundle.trustDomain} ${duration(nowMs - bundle.refreshedAtMs)} old${bundle.stale ? ' STALE' : ''}`;
}

function expiry(atMs: number | undefined, nowMs: number): string {
  return atMs === undefined ? '' : `, expires in ${duration(atMs - nowMs)}`;
}

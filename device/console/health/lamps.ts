/** Three lamps for people: camera, model, broker. Each says how it is, why, and what to do. */
import type { CameraStatusInput } from 'scenebus/bus';
import type { Problem } from '../../events/events.js';
import type { Lamp } from '../api/schemas.js';
import { adviceFor, remedyOf } from './advice.js';

type Found = Pick<Problem, 'code' | 'message'>;

const GOOD = (reason: string): Lamp => ({ state: 'good', reason, remedy: null, detail: null });
const WAITING = (reason: string, remedy: string | null = null): Lamp => ({
  state: 'waiting',
  reason,
  remedy,
  detail: null,
});
const BAD = (reason: string, remedy: string, detail: string | null): Lamp => ({ state: 'bad', reason, remedy, detail });

export function privateLamp(id: string): Lamp {
  return WAITING(
    `Camera ${id} is switched off: its privacy is on.`,
    'Switch its privacy off over the bus, if you may.',
  );
}

export function cameraLamp(id: string, status: Pick<CameraStatusInput, 'state' | 'reason'> | undefined): Lamp {
  const detail = status?.reason?.message ?? null;
  const advice = adviceFor(status?.reason?.code ?? 'ERR_CAPTURE_LOST');
  switch (status?.state) {
    case 'running':
      return GOOD(`Camera ${id} delivers pictures.`);
    case undefined:
    case 'starting':
      return WAITING(`Camera ${id} is being opened.`, 'A network camera takes some seconds.');
    case 'ended':
      return WAITING(`The clip of ${id} is over; its last picture stays.`, 'Set loop: true to play it in a loop.');
    case 'stopped':
      return WAITING(`Camera ${id} is closed.`, 'It is opened again when the service or the configuration is loaded.');
    case 'stalled':
    case 'reconnecting':
      return BAD(`Camera ${id} delivers no pictures now. ${advice.words}`, remedyOf(advice), detail);
    default:
      return BAD(
        `Camera ${id} has failed and is not tried again. ${advice.words}`,
        remedyOf(advice, { isGivenUp: true }),
        detail,
      );
  }
}

export interface ModelFacts {
  readonly name: string;
  readonly engine: { readonly backend: string; readonly weights: string };
}

export function modelLamp(model: ModelFacts | undefined, problem: Found | undefined): Lamp {
  if (problem !== undefined) {
    const advice = adviceFor(problem.code);
    return BAD(advice.words, remedyOf(advice), problem.message);
  }
  if (model === undefined)
    return WAITING('The model is being loaded.', 'The first start of a big model takes minutes.');
  return GOOD(`${model.name} answers questions (${model.engine.backend}, ${model.engine.weights}).`);
}

export interface BrokerFacts {
  readonly address: string;
  readonly state: 'connecting' | 'online' | 'offline' | 'closed';
}

export function brokerLamp({ address, state }: BrokerFacts, problem: Found | undefined): Lamp {
  switch (state) {
    case 'online':
      return GOOD(`Connected to ${address}.`);
    case 'connecting':
      return WAITING(`Connecting to ${address}.`, 'This takes some seconds at most.');
    case 'closed':
      return WAITING('The connection to the broker is closed: the service is stopping.', 'Start the service again.');
    case 'offline': {
      const advice = adviceFor(problem?.code ?? 'ERR_BUS_UNREACHABLE');
      return BAD(`No connection to ${address}. ${advice.words}`, remedyOf(advice), problem?.message ?? null);
    }
  }
}

/** A lamp for several: the worst of them, so that nothing hides behind what works. */
export function worst(lamps: readonly Lamp[]): Lamp {
  const found = lamps.find(({ state }) => state === 'bad') ?? lamps.find(({ state }) => state === 'waiting');
  if (found !== undefined) return found;
  return lamps.length === 1 ? lamps[0]! : GOOD(`All ${lamps.length} cameras deliver pictures.`);
}

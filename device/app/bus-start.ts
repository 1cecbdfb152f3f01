/** The bus before the model is there, and what is wrong with its broker. */
import { SdkError } from 'scenebus';
import { type Bus, VERB_NAMES } from 'scenebus/bus';
import type { EventHub } from '../events/hub.js';
import type { Problems } from '../events/problems.js';

/** Verbs that come with the model: until then callers are told to come back. */
export function refuseVerbs(bus: Bus): void {
  for (const verb of VERB_NAMES) if (verb !== 'health') bus.handle(verb, notReady)();
}

function notReady(): never {
  throw new SdkError('ERR_BUSY', 'The device is starting; ask again in a few seconds.');
}

/**
 * A device with a problem leaves the questions of its groups to others; what is asked of it by name it answers as far
 * as it can. Trouble with the broker itself keeps no question away that has come.
 */
export function standInGroups(bus: Bus, hub: EventHub, problems: Problems): () => void {
  const look = (): void => {
    bus.standInGroups(problems.besides('bus')?.message);
  };
  look();
  return hub.on('problem', look);
}

/** Reports a broker that is away as a problem of the bus, and its return. */
export function watchBroker(bus: Bus, problems: Problems): void {
  const look = (): void => {
    // The first attempt is under way at every start: that is no problem yet.
    if (bus.state !== 'offline') {
      problems.clear('bus');
      return;
    }
    const lost = `The connection to the broker ${bus.broker} is lost; it is being made again.`;
    problems.report('bus', bus.failure ?? new SdkError('ERR_BUS_UNREACHABLE', lost));
  };
  bus.onStateChange(look);
  look();
}

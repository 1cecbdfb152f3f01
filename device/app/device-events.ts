import type { Logger, SdkError } from 'scenebus';
import type { DisposalStack } from 'scenebus/service';
import type { DeviceConfig } from '../config/schema.js';
import { EventHub } from '../events/hub.js';
import { Problems } from '../events/problems.js';
import { Journal } from '../journal/journal.js';
import { journalOptions } from './journal-options.js';

/** The hub over the journal, before anything can happen. */
export async function openEvents(config: DeviceConfig, logger: Logger, resources: DisposalStack) {
  // The journal's own problems are events too; they come as soon as there is a hub.
  let early: SdkError | undefined;
  let report = (error: SdkError | undefined): void => {
    early = error;
  };
  const journal = await Journal.open({ ...journalOptions(config), logger, onHealth: (error) => report(error) });
  resources.use(journal);
  const hub = new EventHub({ logger, recorder: journal });
  resources.defer(() => hub.idle());
  const problems = new Problems(hub);
  hub.on('problem', ({ body: { part, problem } }) => {
    if (problem) logger.log('warn', `${part}: ${problem.message}`, { code: problem.code });
    else logger.log('info', `${part}: recovered`);
  });
  report = (error) => (error ? problems.report('journal', error) : problems.clear('journal'));
  report(early);
  return { hub, journal, problems };
}

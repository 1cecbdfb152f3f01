/** Everything that runs on the model: descriptions, answers, pictures, watches, and the settings of cameras. */
import type { Bus } from 'scenebus/bus';
import type { DisposalStack } from 'scenebus/service';
import { startAsk } from '../features/ask.js';
import { startCameraSettings } from '../features/camera-settings.js';
import type { FeatureContext, ReconfigurableFeature } from '../features/context.js';
import { startDescribe } from '../features/describe.js';
import { startFind } from '../features/find.js';
import { startPictureVerbs } from '../features/picture-verbs.js';
import { Pictures } from '../features/pictures.js';
import { type StandingWatches, startWatches } from '../features/watches/start-watches.js';
import type { Journal } from '../journal/journal.js';
import { stateFile } from './journal-options.js';

export interface DeviceFeatures {
  /** In the order in which they must hear of another configuration. */
  readonly reconfigurable: readonly ReconfigurableFeature[];
  readonly watches: StandingWatches;
  readonly pictures: Pictures;
}

/** `resources` releases them before the model, which was there first: whatever runs on it must have ended. */
export async function startFeatures(
  context: FeatureContext,
  { bus, journal, resources }: { readonly bus: Bus; readonly journal: Journal; readonly resources: DisposalStack },
): Promise<DeviceFeatures> {
  const { config } = context;
  const settings = resources.use(await startCameraSettings(context, bus, stateFile(config, 'settings.json')));
  const pictures = resources.use(new Pictures(context, settings));
  resources.use(startAsk(context, bus, pictures));
  resources.use(startPictureVerbs({ context, pictures, verbs: bus }));
  resources.use(startFind({ context, journal, settings, verbs: bus }));
  const describe = resources.use(startDescribe(context, settings));
  const file = stateFile(config, 'watches.json');
  const watches = resources.use(await startWatches({ context, settings, verbs: bus, file }));
  return { reconfigurable: [settings, describe, watches], watches, pictures };
}

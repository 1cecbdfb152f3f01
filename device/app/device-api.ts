/** OpenAI's and Ollama's APIs over the model of this device, and over what its cameras see. */
import { isSdkError, type Logger, SdkError } from 'scenebus';
import { createTokenStream } from 'scenebus/service';
import type { DeviceConfig } from '../config/schema.js';
import type { Problems } from '../events/problems.js';
import type { ModelAccess } from '../features/context.js';
import type { Pictures } from '../features/pictures.js';
import { ApiError } from '../openai/api-error.js';
import type { CameraPictures } from '../openai/pictures.js';
import { RemotePictures } from '../openai/remote-pictures.js';
import type { ServedModel } from '../openai/served-model.js';
import { ModelServer } from '../openai/server.js';

export interface DeviceApiOptions {
  /** The one that holds when it is asked for. */
  readonly config: () => DeviceConfig;
  readonly model: ModelAccess;
  readonly pictures: Pick<Pictures, 'of'>;
  readonly problems: Problems;
  readonly logger: Logger;
}

/**
 * undefined: the configuration has none, or its port is taken, which is a problem of the device and not its end.
 * @throws SdkError ERR_CONFIG_INVALID for an interface beyond loopback without a key
 */
export async function startDeviceApi(options: DeviceApiOptions): Promise<ModelServer | undefined> {
  const { problems, logger } = options;
  const { openai: settings, secrets } = options.config();
  if (settings === undefined) return undefined;
  const { host, port, hosts: allowedHosts, name: modelName, pictures } = settings;
  const { from: origins, privateAddresses, maxMegabytes, timeoutMs } = pictures;
  const maxBytes = maxMegabytes * 1e6;
  const remote =
    origins.length === 0 ? undefined : new RemotePictures({ origins, privateAddresses, maxBytes, timeoutMs });
  const cameras = settings.cameras ? camerasOf(options) : undefined;
  const model = servedModel(options);
  const where = { host, port, key: secrets.serveKey, allowedHosts };
  try {
    const server = await ModelServer.start({ ...where, model, modelName, pictures: { cameras, remote }, logger });
    logger.log('info', `the model is served at ${server.address}/v1`);
    return server;
  } catch (error) {
    if (error instanceof SdkError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    const message = `The API cannot be served at ${host}:${port} (${why}). Choose another openai.port and restart.`;
    problems.report('openai', new SdkError('ERR_CONFIG_INVALID', message, { cause: error }));
    return undefined;
  }
}

/** The model as it is now: one that was lost and loaded again is another. */
function servedModel({ model, config }: Pick<DeviceApiOptions, 'model' | 'config'>): ServedModel {
  return {
    get info() {
      return model.info;
    },
    generate: (request, { signal, ...asked }) => {
      const { maxNewTokens, timeoutMs: deadlineMs, verify } = config().ask;
      const missing = { maxNewTokens: asked.maxNewTokens ?? maxNewTokens, verify: asked.verify ?? verify };
      const options = { ...asked, ...missing, deadlineMs };
      return createTokenStream(
        (onText, leaving) =>
          model.use(async (loaded) => {
            const stream = loaded.generate(request, { ...options, signal: leaving });
            for await (const text of stream) onText(text);
            return await stream.collect();
          }, leaving),
        signal,
      );
    },
  };
}

/** As everybody else of this device sees them: masks are on the frames already, and privacy closes a camera. */
function camerasOf({ pictures }: Pick<DeviceApiOptions, 'pictures'>): CameraPictures {
  return {
    newest: async (camera, signal) => {
      try {
        const { feed, frame } = await pictures.of({ camera }, { signal });
        return { image: frame, notices: feed.noticesFor(frame) };
      } catch (error) {
        // Clients take other refusals of a camera for trouble that passes, and ask again and again.
        if (isSdkError(error, 'ERR_CAPTURE_REFUSED') && error.details.privacy === true)
          throw new ApiError(403, 'camera_private', error.message);
        throw error;
      }
    },
  };
}

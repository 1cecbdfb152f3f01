/** Every error that a device can show, in words for whoever stands in front of it, and what to do about it. */
import type { ErrorCode } from 'scenebus';

export interface Advice {
  /** What is the matter, without a term of ours. */
  readonly words: string;
  /** What to do. */
  readonly remedy: string;
  /** What the device does afterwards: it tries again by itself, or only after a restart; left out: nothing is needed. */
  readonly next?: 'retry' | 'restart';
}

const MODEL_FOLDER = 'Correct model.directory in the configuration, or copy the model again.';

/** One entry for each code of the SDK: a new code does not compile without words here. */
export const ADVICE: Readonly<Record<ErrorCode, Advice>> = {
  ERR_ARGUMENT_INVALID: {
    words: 'A setting has a value that cannot work.',
    remedy: 'Correct it in the configuration; `scenebus doctor --config FILE` names it.',
    next: 'restart',
  },
  ERR_CONFIG_INVALID: {
    words: 'The configuration asks for something that cannot be done.',
    remedy: 'Correct the configuration as the message says.',
    next: 'restart',
  },
  ERR_DISPOSED: { words: 'This part has been closed.', remedy: 'Wait until the service has restarted.' },
  ERR_NATIVE_UNAVAILABLE: {
    words: 'A part of the installation is missing.',
    remedy: 'Run `npx scenebus setup` on the device.',
    next: 'restart',
  },
  ERR_LIMIT_EXCEEDED: {
    words: 'There is more of something than the device takes.',
    remedy: 'Use fewer cameras, watches or callers; the message names the limit.',
  },
  ERR_DISK_FULL: {
    words: 'The disk is full: events are kept in memory only.',
    remedy: 'Free space on the disk, or lower journal.maxMegabytes.',
    next: 'retry',
  },
  ERR_JOURNAL_UNAVAILABLE: {
    words: 'The journal cannot be written: events are kept in memory only.',
    remedy: 'Check that the disk is there and writable for the service.',
    next: 'retry',
  },
  ERR_JOURNAL_LOCKED: {
    words: 'Another service of this device uses the same journal.',
    remedy: 'End the other one, or give this one another journal.directory.',
    next: 'retry',
  },
  ERR_INTERNAL: {
    words: 'Something failed that nobody foresaw.',
    remedy: 'Read the log under Health and report it.',
    next: 'restart',
  },

  ERR_CAPTURE_ADDRESS_INVALID: {
    words: 'The address of the camera is not one.',
    remedy: 'Correct the address of the camera in the configuration.',
    next: 'restart',
  },
  ERR_CAPTURE_NOT_FOUND: {
    words: 'The camera is not there.',
    remedy: 'Plug it in and switch it on; check its address and the network.',
    next: 'retry',
  },
  ERR_CAPTURE_REFUSED: {
    words: 'The camera refuses the connection.',
    remedy: 'Check its user name and password, whether another program holds it, and the rights of the service’s user.',
  },
  ERR_CAPTURE_UNSUPPORTED: {
    words: 'The camera sends something that this device cannot read.',
    remedy: 'Choose another format, size or codec on the camera or in the configuration.',
    next: 'restart',
  },
  ERR_CAPTURE_TIMEOUT: {
    words: 'The camera does not answer in time.',
    remedy: 'Check its cable, its power and the network.',
    next: 'retry',
  },
  ERR_CAPTURE_ENDED: {
    words: 'The clip is over; its last picture stays.',
    remedy: 'Set loop: true for this camera to play the clip again and again.',
  },
  ERR_CAPTURE_LOST: {
    words: 'The connection to the camera was lost.',
    remedy: 'Check its cable, its power and the network.',
    next: 'retry',
  },
  ERR_CAPTURE_STALLED: {
    words: 'The picture of the camera stands still.',
    remedy: 'Look whether something covers it; switch the camera off and on.',
    next: 'retry',
  },
  ERR_CAPTURE_HOST_DIED: {
    words: 'The program that reads the camera has ended.',
    remedy: 'Wait a moment. If it ends again and again, read the log under Health.',
    next: 'retry',
  },

  ERR_CALIBRATION_FAILED: {
    words: 'The pictures of the board do not tell what the lens is like.',
    remedy: 'Move and tilt the board more, hold it still, and calibrate again.',
  },
  ERR_IMAGE_INVALID: {
    words: 'A picture cannot be read.',
    remedy: 'Check the file or the folder of pictures that the camera names.',
  },
  ERR_IMAGE_TOO_LARGE: {
    words: 'A picture is too large.',
    remedy: 'Set size for this camera, or use smaller pictures.',
  },

  ERR_MODEL_NOT_FOUND: {
    words: 'The model is not where the configuration says.',
    remedy: MODEL_FOLDER,
    next: 'restart',
  },
  ERR_MODEL_INVALID: {
    words: 'The files of the model are damaged or incomplete.',
    remedy: MODEL_FOLDER,
    next: 'restart',
  },
  ERR_MODEL_UNSUPPORTED: {
    words: 'This model is of a kind that the device cannot run.',
    remedy: 'Choose a model of the Llama 3.2 Vision architecture.',
    next: 'restart',
  },
  ERR_TOKENIZER_INVALID: { words: 'The tokenizer of the model is damaged.', remedy: MODEL_FOLDER, next: 'restart' },
  ERR_PROMPT_INVALID: {
    words: 'A question or prompt has no form that the model reads.',
    remedy: 'Correct the prompt in the configuration or the question of the watch.',
  },
  ERR_CONTEXT_OVERFLOW: {
    words: 'A question is longer than the model can read.',
    remedy: 'Shorten the prompt or the question, or raise model.contextLength.',
  },
  ERR_ENGINE_FAILED: {
    words: 'The model failed while it wrote.',
    remedy: 'Wait a moment. If it fails again and again, read the log under Health.',
    next: 'retry',
  },
  ERR_ENGINE_DIED: {
    words: 'The model’s process has ended.',
    remedy: 'Wait a moment. If that takes minutes, read the log under Health.',
    next: 'retry',
  },
  ERR_ENGINE_INCOMPATIBLE: {
    words: 'The model does not fit what is installed on this device.',
    remedy: 'Run `scenebus doctor` on the device: it names what is missing. Then build the engine again.',
  },
  ERR_ENGINE_OUT_OF_MEMORY: {
    words: 'There is not enough memory for the model.',
    remedy: 'Choose a smaller model or a shorter context, or free memory on this machine.',
  },
  ERR_PREPARE_LOCKED: {
    words: 'Another program is preparing this model.',
    remedy: 'Wait until it has finished.',
    next: 'retry',
  },
  ERR_LICENSE_NOT_ACCEPTED: {
    words: 'The licence of the model has not been accepted.',
    remedy: 'Read it, set model.acceptLlamaLicense: true.',
    next: 'restart',
  },

  ERR_SCHEMA_INVALID: {
    words: 'An answer was asked for in a form that is no JSON Schema.',
    remedy: 'Correct the schema of the question.',
  },
  ERR_SCHEMA_UNSUPPORTED: {
    words: 'An answer was asked for in a form that this device cannot keep to.',
    remedy: 'Use a simpler schema; the message names what is not supported.',
  },
  ERR_SCHEMA_UNSATISFIABLE: {
    words: 'An answer was asked for in a form that no answer can have.',
    remedy: 'Correct the schema of the question.',
  },
  ERR_ANSWER_INCOMPLETE: {
    words: 'The answer was cut off before it was complete.',
    remedy: 'Raise ask.maxNewTokens, or ask for less.',
  },
  ERR_ANSWER_INVALID: {
    words: 'The model wrote something that is not in the form that was asked for.',
    remedy: 'Ask again, or put the question in other words.',
  },

  ERR_REMOTE_UNREACHABLE: {
    words: 'The remote model cannot be reached.',
    remedy: 'Check the network, and that the server of the remote model runs.',
    next: 'retry',
  },
  ERR_REMOTE_FAILED: {
    words: 'The server of the remote model has failed.',
    remedy: 'Look at the log of that server.',
    next: 'retry',
  },
  ERR_REMOTE_REJECTED: {
    words: 'The server of the remote model refuses what it is asked.',
    remedy: 'Check the key and the name of the remote model, as the message says.',
  },
  ERR_REMOTE_INVALID: {
    words: 'What answers at the address of the remote model is no such server.',
    remedy: 'Check the address: that of the API, as a rule with /v1 at its end.',
  },

  ERR_BUS_UNREACHABLE: {
    words: 'The broker cannot be reached; answers wait.',
    remedy: 'Check that the broker runs, its address and the network.',
    next: 'retry',
  },
  ERR_BUS_REJECTED: {
    words: 'The broker refuses this device.',
    remedy: 'Check SCENEBUS_MQTT_USERNAME, SCENEBUS_MQTT_PASSWORD and the access rules of the broker.',
  },
  ERR_BUS_TIMEOUT: {
    words: 'The broker does not answer in time.',
    remedy: 'Check the load of the broker and the network.',
    next: 'retry',
  },
  ERR_BUS_PORT_IN_USE: {
    words: 'Another program uses the port of the broker.',
    remedy: 'End it, or set embeddedBroker.port.',
    next: 'restart',
  },
  ERR_REQUEST_INVALID: { words: 'A request was not understood.', remedy: 'Correct the program that sent it.' },
  ERR_REQUEST_TOO_LARGE: { words: 'A request was too large.', remedy: 'Correct the program that sent it.' },
  ERR_REQUEST_UNSUPPORTED: {
    words: 'Something was asked that this device cannot do.',
    remedy: 'See the verbs in the device’s info on the bus.',
  },
  ERR_REQUEST_EXPIRED: {
    words: 'A request was not answered in time.',
    remedy: 'Allow more time, or ask less often.',
  },
  ERR_BUSY: {
    words: 'The device has more to do than it can.',
    remedy: 'Wait a moment; fewer watches or callers help.',
  },
};

/** What to do, and what follows. `isGivenUp`: nothing is tried again before a restart. */
export function remedyOf({ remedy, next }: Advice, { isGivenUp = false } = {}): string {
  const after = isGivenUp ? 'restart' : next;
  if (after === 'restart') return `${remedy} Then restart the service.`;
  return after === 'retry' ? `${remedy} It is tried again by itself.` : remedy;
}

/** What is unknown here came from a newer part or from no part of ours. */
export function adviceFor(code: string): Advice {
  return Object.hasOwn(ADVICE, code) ? ADVICE[code as ErrorCode] : ADVICE.ERR_INTERNAL;
}

/** What can happen on a device. Everything that anybody is told of is one of these first. */
import type { Frame } from 'scenebus';
import type {
  CameraSetting,
  CameraStatusInput,
  EventInput,
  FrameReference,
  HealthInput,
  InfoInput,
  KeptAnswer,
  Observation,
  SceneInput,
  WatchDefinition,
  WatchStateInput,
} from 'scenebus/bus';

export type { FrameReference } from 'scenebus/bus';

/** A frame that the model is about to look at, with its pixels. */
export interface FrameBody {
  readonly frame: Frame;
}

/** A description: the frame that was described, what was written about it, and why. */
export type SceneBody = SceneInput;

/** A request that was answered, over the bus or from within. */
export interface AnswerBody {
  /** `ask`, `describe`, `locate`. */
  readonly verb: string;
  readonly question: string | null;
  /** null: it failed, see `error`. */
  readonly answer: Observation['answer'] | null;
  readonly model: Observation['model'] | null;
  readonly error: Problem | null;
  /** What the caller on the bus is still to be given. */
  readonly reply?: KeptAnswer | undefined;
}

/** What a standing question found. */
export type WatchBody = EventInput;

/** How a watch stands at a camera. */
export interface WatchStateBody {
  readonly watch: string;
  /** null: the watch is gone, from every camera. */
  readonly state: WatchStateInput | null;
}

/** The standing questions of the device, all of them, whenever they have changed. */
export interface WatchesBody {
  readonly watches: readonly WatchDefinition[];
}

/** How a setting of a camera stands. */
export interface SettingBody {
  readonly setting: CameraSetting;
  readonly value: boolean;
}

export type StatusBody = CameraStatusInput;

export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}

/** Something went wrong, or is well again. */
export interface ProblemBody {
  /** `model`, `bus`, `camera/front` … */
  readonly part: string;
  /** null: recovered. */
  readonly problem: Problem | null;
}

export interface EventBodies {
  readonly frame: FrameBody;
  readonly scene: SceneBody;
  readonly answer: AnswerBody;
  readonly watch: WatchBody;
  readonly watchState: WatchStateBody;
  readonly watches: WatchesBody;
  readonly setting: SettingBody;
  /** Of a camera. */
  readonly status: StatusBody;
  readonly problem: ProblemBody;
  /** Of the device, as it is now. */
  readonly health: HealthInput;
  readonly info: InfoInput;
}

export type EventKind = keyof EventBodies;

export interface DeviceEvent<Kind extends EventKind = EventKind> {
  /** Stable: the same event has the same id wherever and however often it is told of. Sorts by time within a run. */
  readonly id: string;
  readonly kind: Kind;
  /** Unix time, milliseconds. */
  readonly atMs: number;
  readonly camera: string | undefined;
  /** The frame it is about. */
  readonly frame: FrameReference | undefined;
  readonly body: EventBodies[Kind];
}

/** Any event; narrows by its kind. */
export type AnyDeviceEvent = { readonly [Kind in EventKind]: DeviceEvent<Kind> }[EventKind];

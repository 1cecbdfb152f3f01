/** Fills in payloads: stamps, provenance, and what the bus takes from an observation. */
import type { z } from 'zod';
import { SdkError } from '../../core/errors.js';
import { redact } from '../../core/redaction.js';
import type { Bearing, FloorPoint, GroundedObject } from '../../core/types.js';
import { describeIssues } from '../contract/decoding.js';
import { toInstant } from '../contract/schemas/common.js';
import { BOX_CONVENTION, busSchemas, SCHEMA_IDS, type SchemaName } from '../contract/schemas/index.js';
import { randomId } from '../transport/random-id.js';
import type { EventInput, FrameReference, ModelReference, Observation, WatchStateInput } from './inputs.js';

export class PayloadStamper {
  readonly run = randomId(8);
  readonly #device: string;
  readonly #now: () => number;
  readonly #sequences = new Map<string, number>();

  constructor(device: string, now: () => number) {
    this.#device = device;
    this.#now = now;
  }

  /**
   * A finished payload of `name` for `topic`, checked against its schema.
   * @throws SdkError ERR_ARGUMENT_INVALID naming the fields that are wrong; the sequence number is not used up.
   */
  make<Name extends SchemaName>(name: Name, topic: string, fields: object): z.infer<(typeof busSchemas)[Name]> {
    const seq = (this.#sequences.get(topic) ?? 0) + 1;
    const payload = this.#checked(name, topic, { ...this.#stamp(name, seq), ...fields });
    this.#sequences.set(topic, seq);
    return payload;
  }

  /** For the will: the broker sends it unchanged at an unknown time, so it has no place in the sequence. */
  makeUnnumbered<Name extends SchemaName>(
    name: Name,
    topic: string,
    fields: object,
  ): z.infer<(typeof busSchemas)[Name]> {
    return this.#checked(name, topic, { ...this.#stamp(name, 0), ...fields });
  }

  #stamp(name: SchemaName, seq: number): object {
    return { schema: SCHEMA_IDS[name], device: this.#device, run: this.run, seq, ts: toInstant(this.#now()) };
  }

  #checked<Name extends SchemaName>(name: Name, topic: string, payload: object): z.infer<(typeof busSchemas)[Name]> {
    const parsed = busSchemas[name].safeParse(withoutSecrets(payload));
    if (parsed.success) return parsed.data as z.infer<(typeof busSchemas)[Name]>;
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected a payload of ${SCHEMA_IDS[name]} for ${topic}, but ${describeIssues(parsed.error)}.`,
      { details: { topic, schema: SCHEMA_IDS[name] } },
    );
  }
}

/** What people wrote, and programs of others: nothing else on the bus can hold a secret. Ids and topics stay. */
function withoutSecrets(value: unknown, key = ''): unknown {
  if (typeof value === 'string') return key === 'message' || key === 'notices' ? redact(value) : value;
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map((item) => withoutSecrets(item, key));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, withoutSecrets(item, name)]));
}

export function frameOf(frame: FrameReference, camera: string | undefined): object {
  return {
    ...(camera === undefined ? {} : { camera }),
    frameId: frame.id,
    frameTs: toInstant(frame.capturedAtMs),
  };
}

export function provenanceOf(
  { frame, model }: { readonly frame: FrameReference; readonly model: ModelReference },
  camera: string | undefined,
): object {
  return {
    ...frameOf(frame, camera),
    model: { id: model.id, ...(model.hash === undefined ? {} : { hash: model.hash }) },
    generatedByModel: true,
  };
}

/** Field by field: what a later grounder adds is not in this version of the contract. */
export function objectsOf(objects: readonly GroundedObject[]): object[] {
  return objects.map(({ label, box, boxPixels, score, source, verified, trackId, bearing, floor }) => ({
    label,
    box: { x1: box.x1, y1: box.y1, x2: box.x2, y2: box.y2 },
    boxPixels: [...boxPixels],
    score,
    source,
    ...(verified === undefined ? {} : { verified }),
    ...(trackId === undefined ? {} : { trackId }),
    ...(bearing === undefined ? {} : { bearing: bearingOf(bearing) }),
    ...(floor === undefined ? {} : { floor: floorOf(floor) }),
  }));
}

/** Degrees and metres to four digits: far below any sigma, and short. */
const short = (value: number) => Math.round(value * 1e4) / 1e4;

function bearingOf({ azimuthDegrees, elevationDegrees, sigmaDegrees, frame }: Bearing): object {
  return {
    azimuthDegrees: short(azimuthDegrees),
    elevationDegrees: short(elevationDegrees),
    sigmaDegrees: short(sigmaDegrees),
    frame,
  };
}

function floorOf({ xMetres, yMetres, sigmaMetres }: FloorPoint): object {
  return { xMetres: short(xMetres), yMetres: short(yMetres), sigmaMetres: short(sigmaMetres) };
}

/** Pixels of the frame that boxes refer to. */
export function imageSizeOf({ width, height }: FrameReference): object {
  return { width, height };
}

/** The fields of an answer about a frame: text, objects, how it ended, what it cost. */
export function answerOf({ answer, frame }: Observation): object {
  return {
    text: answer.text,
    ...(answer.sentence === undefined ? {} : { sentence: answer.sentence }),
    objects: objectsOf(answer.objects),
    image: imageSizeOf(frame),
    coordinates: BOX_CONVENTION,
    ...(answer.finishReason === undefined ? {} : { finishReason: answer.finishReason }),
    ...(answer.usage === undefined ? {} : { usage: numbersOf(answer.usage) }),
    ...(answer.timings === undefined ? {} : { timings: numbersOf(answer.timings) }),
    ...(answer.notices === undefined ? {} : { notices: [...answer.notices] }),
  };
}

/** The fields of an event of a watch; the outbox adds the stamps. */
export function eventFields(event: EventInput, camera: string): object {
  const { watch, eventId, type, question, answerType, value, previous, probability, evidence } = event;
  return {
    ...provenanceOf(event, camera),
    ...{ watch, eventId, type, question, answerType, value, previous, probability },
    startedTs: toInstant(event.startedAtMs),
    image: imageSizeOf(event.frame),
    coordinates: BOX_CONVENTION,
    evidence: {
      ...(evidence.text === undefined ? {} : { text: evidence.text }),
      objects: objectsOf(evidence.objects),
    },
    ...(event.repeated ? { repeated: true } : {}),
  };
}

/** The fields of the retained state of a watch. */
export function watchStateFields(state: WatchStateInput, camera: string, watch: string): object {
  const { question, answerType, value, probability, eventId } = state;
  return {
    ...provenanceOf(state, camera),
    ...{ watch, question, answerType, value, probability, eventId },
    sinceTs: toInstant(state.sinceMs),
  };
}

/** The finite numbers of an object: JSON has no other. */
export function numbersOf(value: object): Record<string, number> {
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, number] => Number.isFinite(entry[1])),
  );
}

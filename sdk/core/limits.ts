/** All ceilings for input that strangers control, together, so that they can be read and tested in one place. */
export const LIMITS = {
  /** Encoded image file (JPEG, PNG …). */
  imageFileBytes: 64 * 2 ** 20,
  /** Decoded pixels of one image: 64 megapixels. */
  imagePixels: 64 * 2 ** 20,
  imageSidePixels: 16_384,
  /** A safetensors header; the 11B checkpoint's largest is about 110 kB. */
  safetensorsHeaderBytes: 64 * 2 ** 20,
  /** An ONNX file without the weights beside it. */
  onnxFileBytes: 2 ** 30,
  tokenizerFileBytes: 128 * 2 ** 20,
  configFileBytes: 4 * 2 ** 20,
  /** One message on a request topic. */
  busRequestBytes: 64 * 1024,
  /** One MQTT packet, asked of the broker (MQTT 5) and enforced by the embedded one. Above busRequestBytes, so that an oversized question still gets its answer. */
  busPacketBytes: 16 * 2 ** 20,
  /** Response topic that a caller chose, UTF-8 bytes. */
  busTopicBytes: 512,
  questionCharacters: 4_096,
  /** All messages of one request to a model together; far beyond any context, so that tokenizing stays cheap. */
  promptCharacters: 2 ** 20,
  promptMessages: 1_024,
  promptImages: 16,
  /** A JSON Schema for an answer, as JSON. */
  schemaCharacters: 2 ** 20,
  schemaDepth: 256,
  /** Compiling a stranger's schema, in a thread of its own. */
  schemaCompileMs: 5_000,
  schemaCompileMebibytes: 256,
  /** Threads that do so at once; others wait. */
  schemaCompilations: 2,
  stopStrings: 16,
  stopStringCharacters: 256,
  /** Name of who asks a model; only compared. */
  callerCharacters: 256,
  /** Requests of one priority that may wait for a model, unless it was loaded with another `maxWaiting`. */
  requestQueueLength: 32,
  /** Pixels that wait for a model process or are read by it: five pictures of the largest size, 40 of 3840 × 2160. */
  processFrameBytes: 2 ** 30,
  /** Calls of a model process under way, those that the model itself will refuse included. */
  processCalls: 256,
  /** Requests that a device has taken from the bus and not answered yet; more are answered with ERR_BUSY. */
  /** Groups that one device is in: each has a connection of its own. */
  busGroups: 8,
  busUnansweredRequests: 256,
  /** Messages kept while the broker is away. */
  busOfflineQueueLength: 256,
} as const;

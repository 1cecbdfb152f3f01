export {
  createTracker,
  type Track,
  type TrackedFrame,
  type TrackedObjects,
  type Tracker,
  type TrackerOptions,
} from './tracker.js';

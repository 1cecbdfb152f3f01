/** What other folders use of verifying. */
export { formatVerifyReport, type TensorDifference, type VerifyCheck, type VerifyReport } from './report.js';
export { type VerifyOptions, verifyCheckpoint } from './verify.js';

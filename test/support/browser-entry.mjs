/** What a page would import. */
export { connect, SdkError } from 'scenebus/client';

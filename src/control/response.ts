/** An answer as the bytes that leave: a length, then the message. */
import { toBinary } from '@bufbuild/protobuf';
import { type Response, ResponseSchema } from '../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { refused } from './answer.ts';
import { frame, LARGEST_RESPONSE } from './frame.ts';

export function encodeResponse(response: Response): Buffer {
  const bytes = toBinary(ResponseSchema, response);
  if (bytes.length <= LARGEST_RESPONSE) return frame(bytes);
  return encodeResponse(refused('INTERNAL', `the answer takes ${bytes.length} bytes`));
}

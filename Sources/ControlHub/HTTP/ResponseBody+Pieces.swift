import Hummingbird
import NIOCore

extension ResponseBody {
    /// Beyond this an answer is handed to its connection piece by piece.
    private static let pieceBytes = 32 << 10

    /// An answer that goes out no faster than it is taken, so that a reader who takes nothing holds little of it, also as
    /// what TLS has made of it. `buffer` is not copied.
    static func inPieces(_ buffer: ByteBuffer) -> ResponseBody {
        guard buffer.readableBytes > pieceBytes else { return ResponseBody(byteBuffer: buffer) }
        return ResponseBody(contentLength: buffer.readableBytes) { writer in
            var rest = buffer
            while let piece = rest.readSlice(length: min(pieceBytes, rest.readableBytes)), piece.readableBytes > 0 {
                try await writer.write(piece)
            }
            try await writer.finish(nil)
        }
    }
}

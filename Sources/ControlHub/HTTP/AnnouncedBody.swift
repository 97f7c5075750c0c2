import HTTPTypes
import Hummingbird
import NIOCore

extension ResponseBody {
    /// A body of exactly the length that the answer's head announces, whoever it comes from.
    ///
    /// What goes beyond it would be taken for the answer to the connection's next request, by a proxy for somebody else's; and
    /// where bytes are missing, the next answer would be taken for them (RFC 9112 §6.3). Either ends the connection instead.
    static func announced(
        _ length: UInt64,
        _ write: @escaping @Sendable (inout any ResponseBodyWriter) async throws -> Void
    ) -> ResponseBody {
        ResponseBody(contentLength: Int(clamping: length)) { writer in
            var counted: any ResponseBodyWriter = AnnouncedBodyWriter(writer: writer, left: length)
            try await write(&counted)
        }
    }

    /// This body as another one writes it, as long as it is.
    func rewritten(
        _ write: @escaping @Sendable (ResponseBody, any ResponseBodyWriter) async throws -> Void
    ) -> ResponseBody {
        ResponseBody(contentLength: contentLength) { writer in try await write(self, writer) }
    }
}

private struct AnnouncedBodyWriter: ResponseBodyWriter {
    var writer: any ResponseBodyWriter
    var left: UInt64

    mutating func write(_ buffer: ByteBuffer) async throws {
        let bytes = UInt64(clamping: buffer.readableBytes)
        guard bytes <= left else {
            throw HubError(.transferFailed, "The node sent more than it announced. The connection is closed.")
        }
        left -= bytes
        try await writer.write(buffer)
    }

    consuming func finish(_ trailingHeaders: HTTPFields?) async throws {
        guard left == 0 else {
            throw HubError(
                .transferFailed,
                "The node sent \(left) bytes fewer than it announced. The connection is closed."
            )
        }
        try await writer.finish(trailingHeaders)
    }
}

import HTTPTypes
import Hummingbird
import NIOCore

/// Hands answers to their connection no faster than it takes them, so that a reader who takes nothing holds little.
///
/// A connection says that it is full only when it has come to what it was given. A task that writes is faster than that,
/// where TLS has to encrypt first: it would hand over all of a large answer, and the answers to all requests that came at once.
struct PacedAnswerMiddleware: RouterMiddleware {
    typealias Context = HubRequestContext

    /// What is handed over at once.
    private static let pieceBytes = 32 << 10
    /// Answers up to this are not worth the wait; hundreds of them are less than one large one.
    private static let smallBytes = 2 << 10

    func handle(
        _ request: Request,
        context: HubRequestContext,
        next: (Request, HubRequestContext) async throws -> Response
    ) async throws -> Response {
        var response = try await next(request, context)
        let body = response.body
        guard request.method != .head, body.contentLength ?? .max > Self.smallBytes else { return response }
        let loop = context.eventLoop
        response.body = body.rewritten { body, writer in try await body.write(Writer(writer: writer, loop: loop)) }
        return response
    }

    private struct Writer: ResponseBodyWriter {
        var writer: any ResponseBodyWriter
        let loop: any EventLoop

        mutating func write(_ buffer: ByteBuffer) async throws {
            var rest = buffer
            while let piece = rest.readSlice(length: min(PacedAnswerMiddleware.pieceBytes, rest.readableBytes)),
                piece.readableBytes > 0
            {
                try await writer.write(piece)
                // What was handed over before is dealt with by then, and the next write waits where that was too much.
                try await loop.submit {}.get()
            }
        }

        consuming func finish(_ trailingHeaders: HTTPFields?) async throws {
            try await writer.finish(trailingHeaders)
        }
    }
}

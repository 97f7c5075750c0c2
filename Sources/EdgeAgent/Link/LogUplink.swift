import Logging
import WireFormat

/// Where the link gets a bot's log from.
protocol LogSource: Sendable {
    associatedtype Chunks: AsyncSequence<WireLogChunk, any Error> & Sendable

    /// - Throws: where there is no such bot or its log cannot be read.
    func logs(_ request: WireLogRequest) async throws -> Chunks
}

/// Answers one log request on its stream.
struct LogUplink<Source: LogSource>: Sendable {
    let source: Source
    let logger: Logger

    func run(_ request: WireLogRequest, on stream: SessionStream) async {
        do {
            for try await chunk in try await source.logs(request) {
                try await stream.send(message: chunk)
            }
            stream.finish()
        } catch is CancellationError {
            stream.reset(.cancelled, reason: "the agent is stopping")
        } catch let error as WireFormatError {
            // The reader went away, or the session did; both are ordinary ends of following a log.
            logger.debug("log stream ended", metadata: ["bot_id": "\(request.botID)", "reason": "\(error)"])
        } catch {
            logger.warning("a log cannot be read", metadata: ["bot_id": "\(request.botID)", "reason": "\(error)"])
            stream.reset(.internalError, reason: "\(error)")
        }
    }
}

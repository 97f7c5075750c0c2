import Foundation
import HTTPTypes
import Hummingbird
import WireFormat

/// `/api/bots/{id}/logs`: a page as JSON, or a stream that follows.
struct LogRoutes {
    let services: HubServices

    private struct Line: Codable, Sendable {
        let offset: UInt64
        let at: Date
        let source: String
        let text: String
        let truncated: Bool

        init(_ line: WireLogLine) {
            offset = line.offset
            at = Date(unixMilliseconds: Int64(clamping: line.atUnixMs))
            source =
                switch line.source {
                case .stdout: "stdout"
                case .stderr: "stderr"
                case .supervisor: "supervisor"
                case .packet: "packet"
                case .unspecified, .UNRECOGNIZED: "unknown"
                }
            // Bytes that are no UTF-8 are shown as U+FFFD.
            text = String(decoding: line.text, as: UTF8.self)
            truncated = line.truncated
        }
    }

    private struct Lines: Codable, APIDocument {
        static let schemaName: String? = "LogLines"

        let lines: [Line]
        let nextOffset: UInt64
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/bots/{id}/logs",
                .viewer,
                .logs,
                "What a bot has written: the end of it, a part, or a stream that follows.",
                details: """
                    The stream is `text/event-stream`; each event holds lines as the page does, and its id is the offset \
                    where the next begins, so that `Last-Event-ID` resumes it.
                    """,
                parameters: [
                    .query("tail", .integer(0...10_000), "So many lines from the end; 100 unless given."),
                    .query("offset", .integer(0...Int64.max), "From here on, instead of `tail`."),
                    .query("since", .time, "Only lines written at this time or later."),
                    .query(
                        "follow",
                        .boolean,
                        "`true` for the stream, which `Accept: text/event-stream` also asks for."
                    ),
                ],
                answers: [APIAnswer.json(Lines.self).or("text/event-stream")],
                errors: [.nodeOffline],
                handler: read
            )
        ]
    }

    @Sendable
    private func read(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let bot = try context.botID()
        var query = try Self.query(request)
        guard try request.flag("follow") || request.headers[.accept]?.contains("text/event-stream") == true
        else {
            let page = try await services.logs.page(bot, query)
            return try JSONCoding.response(Lines(lines: page.lines.map(Line.init), nextOffset: page.nextOffset))
        }
        if let name = HTTPField.Name("Last-Event-ID"), let last = request.headers[name].flatMap({ UInt64($0) }) {
            query.start = .offset(last)
        }
        let subscription = try await services.logs.follow(bot, query)
        return try services.streams.response(
            for: context,
            services: services,
            next: {
                guard let chunk = try await subscription.next() else { return nil }
                let data = try JSONCoding.encode(
                    Lines(lines: chunk.lines.map(Line.init), nextOffset: chunk.nextOffset)
                )
                return [ServerSentEvent(id: String(chunk.nextOffset), name: nil, data: data)]
            },
            onEnd: { subscription.cancel() }
        )
    }

    private static func query(_ request: Request) throws -> LogOperations.Query {
        let tail = try request.number("tail", in: 0...10_000)
        let offset = try request.number("offset", in: 0...Int64.max)
        guard tail == nil || offset == nil else {
            throw HubError(.invalidRequest, "`tail` and `offset` exclude each other. Give one of them.")
        }
        let since = try request.time("since")
        let start: LogOperations.Query.Start = offset.map { .offset(UInt64($0)) } ?? .tail(lines: UInt32(tail ?? 100))
        return LogOperations.Query(start: start, since: since)
    }
}

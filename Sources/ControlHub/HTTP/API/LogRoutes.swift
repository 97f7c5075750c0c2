import Foundation
import HTTPTypes
import Hummingbird
import WireFormat

/// `/api/bots/{id}/logs`: a page as JSON, or a stream that follows.
struct LogRoutes {
    let services: HubServices

    private struct Line: Encodable {
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
                case .unspecified, .UNRECOGNIZED: "unknown"
                }
            // Bytes that are no UTF-8 are shown as U+FFFD.
            text = String(decoding: line.text, as: UTF8.self)
            truncated = line.truncated
        }
    }

    private struct Lines: Encodable {
        let lines: [Line]
        let nextOffset: UInt64
    }

    func add(to routes: RoleGroups) {
        routes.viewer.get("bots/:id/logs") { request, context in
            let bot = try context.botID()
            var query = try Self.query(request)
            guard request.query("follow") == "true" || request.headers[.accept]?.contains("text/event-stream") == true
            else {
                let page = try await services.logs.page(bot, query)
                return try JSONCoding.response(Lines(lines: page.lines.map(Line.init), nextOffset: page.nextOffset))
            }
            if let name = HTTPField.Name("Last-Event-ID"), let last = request.headers[name].flatMap({ UInt64($0) }) {
                query.start = .offset(last)
            }
            let subscription = try await services.logs.follow(bot, query)
            return try services.streams.response(
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
    }

    private static func query(_ request: Request) throws -> LogOperations.Query {
        let tail = try request.number("tail", in: 0...10_000)
        let offset = try request.number("offset", in: 0...Int64.max)
        guard tail == nil || offset == nil else {
            throw HubError(.invalidRequest, "`tail` and `offset` exclude each other. Give one of them.")
        }
        var since: Date?
        if let text = request.query("since") {
            // `try?`: the other spelling of the same standard is tried, then the request is refused.
            guard
                let date = (try? Date(text, strategy: .iso8601))
                    ?? (try? Date(text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
            else {
                throw HubError(.invalidRequest, "`since` must be an RFC 3339 time, for example 2026-01-31T12:00:00Z.")
            }
            since = date
        }
        let start: LogOperations.Query.Start = offset.map { .offset(UInt64($0)) } ?? .tail(lines: UInt32(tail ?? 100))
        return LogOperations.Query(start: start, since: since)
    }
}

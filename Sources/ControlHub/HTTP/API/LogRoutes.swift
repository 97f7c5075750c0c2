import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
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
                    where the next begins, so that `Last-Event-ID` resumes it. It stays open while the node is away and goes \
                    on at the last line when it is back; resuming does not need the node, either. It ends when the bot is \
                    moved or deleted.
                    """,
                parameters: [
                    .query("tail", .integer(0...10_000), "So many lines from the end; 100 unless given."),
                    .query("offset", .integer(Schema.counts), "From here on, instead of `tail`."),
                    .query("since", .time, "Only lines written at this time or later."),
                    .query(
                        "search",
                        .text,
                        "Only lines that hold this, whatever the case; from the beginning on unless `tail` or `offset` is given."
                    ),
                    .query("source", .words(of: Source.self), "Only what the bot wrote there."),
                    .query(
                        "follow",
                        .boolean,
                        "`true` for the stream, which `Accept: text/event-stream` also asks for."
                    ),
                ],
                answers: [APIAnswer.json(Lines.self).or("text/event-stream")],
                errors: [.nodeOffline, .hubBusy, .tooManyStreams],
                handler: read
            ),
            APIRoute(
                .get,
                "/api/bots/{id}/logs/download",
                .viewer,
                .logs,
                "All of a bot's log that its node still has, as a text file.",
                details: "One line each: time, source, text.",
                parameters: [
                    .query("since", .time, "Only lines written at this time or later."),
                    .query("search", .text, "Only lines that hold this, whatever the case."),
                    .query("source", .words(of: Source.self), "Only what the bot wrote there."),
                ],
                answers: [.content("text/plain", "The log.")],
                errors: [.nodeOffline, .hubBusy, .tooManyStreams],
                handler: download
            ),
        ]
    }

    /// Where a line was written.
    private enum Source: String, CaseIterable, Sendable {
        case stdout, stderr, supervisor

        var wire: WireLogSource {
            switch self {
            case .stdout: .stdout
            case .stderr: .stderr
            case .supervisor: .supervisor
            }
        }
    }

    @Sendable
    private func download(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let id = try context.botID()
        var query = LogOperations.Query(start: .offset(0), since: try request.time("since"))
        query.text = try request.text("search")
        query.source = try request.word("source", of: Source.self)?.wire
        let bot = try await services.bots.store.bot(id)
        let lease = try services.streams.lease(for: context)
        let subscription = try await services.logs.whole(id, query)
        let body = ResponseBody { [query, services] writer in
            defer {
                subscription.cancel()
                lease.release()
            }
            try await CredentialWatch(context, services).guarding {
                var overwritten = OverwrittenLines()
                for try await chunk in subscription {
                    // Of a search each line that was found counts, whatever was written over it.
                    let wanted = chunk.lines.filter(query.isWanted)
                    let text = Self.text(query.text == nil ? overwritten.take(wanted) : wanted)
                    if !text.isEmpty { try await writer.write(ByteBuffer(string: text)) }
                }
                try await writer.write(ByteBuffer(string: Self.text(overwritten.rest())))
            }
            try await writer.finish(nil)
        }
        // A name is anything; a header is not.
        let name = bot.name.map { $0.isASCII && ($0.isLetter || $0.isNumber || "-_.".contains($0)) ? $0 : "_" }
        return Response(
            status: .ok,
            headers: [
                .contentType: "text/plain; charset=utf-8", .cacheControl: "no-store",
                .contentDisposition: "attachment; filename=\"\(String(name)).log\"",
            ],
            body: body
        )
    }

    private static func text(_ lines: [WireLogLine]) -> String {
        lines.map(Line.init).map { line in
            let words = line.text.hasSuffix("\r") ? line.text.dropLast() : line.text[...]
            return "\(line.at.rfc3339) \(line.source) \(words)\n"
        }.joined()
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
        var isResuming = false
        if let name = HTTPField.Name("Last-Event-ID"), let last = request.headers[name].flatMap({ UInt64(decimal: $0) })
        {
            query.start = .offset(last)
            isResuming = true
        }
        let subscription = try await services.logs.follow(bot, query, isResuming: isResuming)
        return try services.streams.response(
            for: context,
            services: services,
            next: { [query] in
                guard let chunk = try await subscription.next() else { return nil }
                let data = try JSONCoding.encode(
                    Lines(lines: chunk.lines.filter(query.isWanted).map(Line.init), nextOffset: chunk.nextOffset)
                )
                return [ServerSentEvent(id: String(chunk.nextOffset), name: nil, data: data)]
            },
            onEnd: { subscription.cancel() }
        )
    }

    private static func query(_ request: Request) throws -> LogOperations.Query {
        let tail = try request.number("tail", in: 0...10_000)
        let offset = try request.number("offset", in: Schema.counts)
        guard tail == nil || offset == nil else {
            throw HubError(.invalidRequest, "`tail` and `offset` exclude each other. Give one of them.")
        }
        let since = try request.time("since")
        let text = try request.text("search")
        let source = try request.word("source", of: Source.self)?.wire
        let isSearch = text != nil && tail == nil
        let start: LogOperations.Query.Start =
            if let offset {
                .offset(UInt64(clamping: offset))
            } else if isSearch {
                .offset(0)
            } else {
                .tail(lines: UInt32(clamping: tail ?? 100))
            }
        return LogOperations.Query(start: start, since: since, text: text, source: source)
    }
}

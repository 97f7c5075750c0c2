import Foundation
import HTTPTypes
import Hummingbird
import Synchronization

/// `/api/events`: everything that happens, as it happens.
struct EventRoutes {
    let services: HubServices

    /// Which events are wanted.
    struct Filter: Sendable {
        var types: Set<String> = []
        var node: String?
        var bot: String?

        func isWanted(_ event: HubEvent) -> Bool {
            if !types.isEmpty, !types.contains(event.type) { return false }
            if let node, event.nodeID != node { return false }
            if let bot, event.botID != bot { return false }
            return true
        }
    }

    private struct Document: Codable, APIDocument {
        static let schemaName: String? = "Event"

        let id: String
        let type: String
        let at: Date
        let data: JSONValue
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/events",
                .viewer,
                .live,
                "Everything that happens, as it happens; as JSON, what has happened lately.",
                details: """
                    A `text/event-stream` unless `Accept` names `application/json` and not that. `Last-Event-ID` resumes \
                    it. A reader that was too slow, or away for too long, gets an event `missed` with how many it missed \
                    (null after a restart of the hub) and should read again what it shows. As JSON: the events of this \
                    run that are still kept, newest first.
                    """,
                parameters: [
                    .query("types", .text, "Only these types; names with commas between."),
                    .query("node_id", .text, "Only what names this node."),
                    .query("bot_id", .text, "Only what names this bot."),
                    .query("after", .text, "The same as `Last-Event-ID`."),
                    .header("Last-Event-ID", .string(lengths: 0...64), "Go on after this event."),
                    .limit, .position,
                ],
                answers: [APIAnswer.json(Page<Document>.self).or("text/event-stream")],
                errors: [.tooManyStreams],
                handler: read
            )
        ]
    }

    @Sendable
    private func read(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        var filter = Filter()
        filter.types = Set(try request.text("types")?.split(separator: ",").map(String.init) ?? [])
        filter.node = try request.text("node_id")
        filter.bot = try request.text("bot_id")
        let after = try request.text("after")
        let accept = request.headers[.accept] ?? "text/event-stream"
        guard !accept.contains("application/json") || accept.contains("text/event-stream") else {
            return try history(request, filter)
        }
        let lastEventID = HTTPField.Name("Last-Event-ID").flatMap { request.headers[$0] } ?? after
        let reader = EventReader(feed: services.events, lastEventID: lastEventID, isWanted: filter.isWanted)
        return try services.streams.response(for: context, services: services, next: reader.next)
    }

    private func history(_ request: Request, _ filter: Filter) throws -> Response {
        let limit = try request.pageLimit()
        let events = services.events.history(
            before: try request.positionCursor().map { UInt64(clamping: $0) },
            limit: limit + 1,
            where: filter.isWanted
        )
        return try JSONCoding.response(
            Page(events, limit: limit, cursor: { String($0.sequence) }) {
                Document(id: services.events.eventID($0.sequence), type: $0.type, at: $0.at, data: $0.data)
            }
        )
    }
}

/// One listener's way through the feed.
final class EventReader: Sendable {
    private let feed: EventFeed
    private let signals: AsyncStream<Void>
    private let isWanted: @Sendable (HubEvent) -> Bool
    private let state: Mutex<(cursor: UInt64, hasLostTrack: Bool)>

    /// - Parameter lastEventID: where to go on. Another run's id cannot be followed up: that is told as missed.
    init(feed: EventFeed, lastEventID: String?, isWanted: @escaping @Sendable (HubEvent) -> Bool = { _ in true }) {
        self.feed = feed
        self.isWanted = isWanted
        signals = feed.signals()
        let cursor = lastEventID.map { feed.cursor(lastEventID: $0) } ?? feed.newest
        state = Mutex((cursor ?? feed.newest, cursor == nil))
    }

    /// The next events, as soon as there are some; nil when the task is cancelled.
    @Sendable
    func next() async throws -> [ServerSentEvent]? {
        while true {
            let (batch, hasLostTrack, isAtEnd) = state.withLock { state in
                defer { state.hasLostTrack = false }
                let before = state.cursor
                return (feed.read(after: &state.cursor), state.hasLostTrack, state.cursor == before)
            }
            var events: [ServerSentEvent] = []
            if hasLostTrack || batch.missed > 0 {
                // Without a number after a restart: nobody knows how many there were.
                let count: JSONValue = hasLostTrack ? .null : .integer(Int64(clamping: batch.missed))
                events.append(
                    ServerSentEvent(id: nil, name: "missed", data: try JSONCoding.encode(["missed": count]))
                )
            }
            events += batch.events.filter(isWanted).map { event in
                ServerSentEvent(id: feed.eventID(event.sequence), name: event.type, data: Self.timed(event))
            }
            if !events.isEmpty { return events }
            guard isAtEnd else { continue }
            // A fresh iterator each time: signals are merged and carry nothing, so none can be lost between two.
            var isOver = true
            for await _ in signals {
                isOver = false
                break
            }
            if isOver || Task.isCancelled { return nil }
        }
    }

    /// What is told with the time beside it.
    private static func timed(_ event: HubEvent) -> Data {
        guard event.json.count > 2, event.json.last == UInt8(ascii: "}") else { return Data(event.json) }
        return Data(event.json.dropLast() + #","at":"\#(event.at.rfc3339)"}"#.utf8)
    }
}

import Foundation
import HTTPTypes
import Hummingbird
import Synchronization

/// `/api/events`: everything that happens, as it happens.
struct EventRoutes {
    let services: HubServices

    private struct Document: Encodable {
        let type: String
        let at: Date
    }

    func add(to routes: RoleGroups) {
        routes.viewer.get("events") { request, _ in
            let lastEventID = HTTPField.Name("Last-Event-ID").flatMap { request.headers[$0] } ?? request.query("after")
            return try services.streams.response(next: reader(from: lastEventID).next)
        }
    }

    private func reader(from lastEventID: String?) -> EventReader {
        EventReader(feed: services.events, lastEventID: lastEventID)
    }
}

/// One listener's way through the feed.
final class EventReader: Sendable {
    private let feed: EventFeed
    private let signals: AsyncStream<Void>
    private let state: Mutex<(cursor: UInt64, hasLostTrack: Bool)>

    /// - Parameter lastEventID: where to go on. Another run's id cannot be followed up: that is told as missed.
    init(feed: EventFeed, lastEventID: String?) {
        self.feed = feed
        signals = feed.signals()
        let cursor = lastEventID.map { feed.cursor(lastEventID: $0) } ?? feed.newest
        state = Mutex((cursor ?? feed.newest, cursor == nil))
    }

    /// The next events, as soon as there are some; nil when the task is cancelled.
    @Sendable
    func next() async throws -> [ServerSentEvent]? {
        while true {
            let (batch, hasLostTrack) = state.withLock { state in
                defer { state.hasLostTrack = false }
                return (feed.read(after: &state.cursor), state.hasLostTrack)
            }
            var events: [ServerSentEvent] = []
            if hasLostTrack || batch.missed > 0 {
                // Without a number after a restart: nobody knows how many there were.
                let count: JSONValue = hasLostTrack ? .null : .integer(Int64(clamping: batch.missed))
                events.append(
                    ServerSentEvent(id: nil, name: "missed", data: try JSONCoding.encode(["missed": count]))
                )
            }
            events += try batch.events.map { event in
                var data = event.data
                if case .object(var members) = data {
                    members["at"] = .string(event.at.rfc3339)
                    data = .object(members)
                }
                return ServerSentEvent(
                    id: feed.eventID(event.sequence),
                    name: event.type,
                    data: try JSONCoding.encode(data)
                )
            }
            if !events.isEmpty { return events }
            // A fresh iterator each time: signals are merged and carry nothing, so none can be lost between two.
            var isOver = true
            for await _ in signals {
                isOver = false
                break
            }
            if isOver || Task.isCancelled { return nil }
        }
    }
}

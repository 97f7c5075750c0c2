import Foundation
import Synchronization

/// Something that happened, told to everyone who listens.
struct HubEvent: Sendable {
    /// Counts from 1 in this run of the hub.
    let sequence: UInt64
    /// `node.health`, `bot.status`, `message.state`, `packet`, ...
    let type: String
    let at: Date
    let data: JSONValue
}

/// The last events of this run, for any number of listeners.
///
/// There is one ring and no queue per listener: a listener only remembers how far it has read. One that falls further
/// behind than the ring is long is told how many it missed, so a slow reader costs nothing and holds up nobody.
final class EventFeed: Sendable {
    /// What a listener gets when it asks for what is new.
    struct Batch: Sendable {
        /// Events that have left the ring before they were read; 0 normally.
        var missed: UInt64
        var events: [HubEvent]
    }

    /// Enough for a browser that was away for a minute on a busy hub.
    static let capacity = 1000
    /// Most events handed out at once, so that one listener is written to in bounded pieces.
    static let batchLimit = 100

    private struct State {
        var ring: [HubEvent] = []
        var next: UInt64 = 1
        var nextListener = 0
        var listeners: [Int: AsyncStream<Void>.Continuation] = [:]
    }

    /// Tells one run of the hub from another, because sequences start again.
    let run: String
    private let state = Mutex(State())

    init(run: String = SecretBytes.base64URL(SecretBytes.random(count: 6))) {
        self.run = run
    }

    /// The sequence of the newest event, 0 before the first.
    var newest: UInt64 { state.withLock { $0.next - 1 } }

    /// Adds an event and wakes the listeners. Never blocks.
    func publish(_ type: String, at date: Date, _ data: JSONValue) {
        let listeners = state.withLock { state in
            let event = HubEvent(sequence: state.next, type: type, at: date, data: data)
            state.next += 1
            // One array that is trimmed in bulk: cheaper than shifting it for each event.
            state.ring.append(event)
            if state.ring.count >= Self.capacity * 2 {
                state.ring.removeFirst(state.ring.count - Self.capacity)
            }
            return Array(state.listeners.values)
        }
        for listener in listeners {
            listener.yield()
        }
    }

    /// What came after `cursor`, which is moved past it.
    func read(after cursor: inout UInt64) -> Batch {
        state.withLock { state in
            let oldest = state.next - UInt64(min(state.ring.count, Self.capacity))
            var missed: UInt64 = 0
            if cursor + 1 < oldest {
                missed = oldest - cursor - 1
                cursor = oldest - 1
            }
            let pending = state.next - 1 - min(cursor, state.next - 1)
            let events = Array(state.ring.suffix(Int(pending)).prefix(Self.batchLimit))
            cursor = events.last?.sequence ?? cursor
            return Batch(missed: missed, events: events)
        }
    }

    /// Fires when something new may be there; signals that nobody took are merged into one.
    func signals() -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let id = state.withLock { state in
            state.nextListener += 1
            state.listeners[state.nextListener] = continuation
            return state.nextListener
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { _ = $0.listeners.removeValue(forKey: id) }
        }
        return stream
    }

    /// The cursor named by a `Last-Event-ID` of this run; nil when it is another run's or no id at all.
    func cursor(lastEventID: String) -> UInt64? {
        let parts = lastEventID.split(separator: "-", omittingEmptySubsequences: false)
        guard let number = parts.last.flatMap({ UInt64($0) }), lastEventID == eventID(number) else { return nil }
        return min(number, newest)
    }

    /// The `id:` an event is sent with.
    func eventID(_ sequence: UInt64) -> String { "\(run)-\(sequence)" }
}

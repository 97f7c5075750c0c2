import Foundation
import Synchronization
import WireFormat

/// Something that happened, told to everyone who listens.
struct HubEvent: Sendable {
    /// Counts from 1 in this run of the hub.
    let sequence: UInt64
    /// `node.updated`, `bot.updated`, `message.updated`, `command.updated`, `packet`, ...
    let type: String
    let at: Date
    /// What is told, as JSON text: thousands are kept, and every listener is sent the same.
    let json: [UInt8]
    /// The node and the bot it is about, as far as it names them.
    let nodeID: String?
    let botID: String?
    /// A newer event of the same name makes this one pointless: figures that are measured again and again.
    let supersedes: String?

    init(sequence: UInt64, type: String, at: Date, data: JSONValue, supersedes: String?) {
        (self.sequence, self.type, self.at, self.supersedes) = (sequence, type, at, supersedes)
        let text = data.text
        json = text.count > Self.maximumBytes && Defence.eventBytes.isUp ? Self.shortened(data).text : text
        nodeID = data["node_id"]?.stringValue
        botID = data["bot_id"]?.stringValue
    }

    /// What it takes, roughly.
    var bytes: Int { json.count + Self.overheadBytes }

    private static let overheadBytes = 256

    /// The largest event: longer ones are told without their longest parts, which can be read where they are kept.
    static let maximumBytes = 16 << 10
    /// Of one text in such an event.
    private static let maximumTextBytes = 256

    private static func shortened(_ data: JSONValue) -> JSONValue {
        guard case .object(let members) = data else { return .object(["shortened": .bool(true)]) }
        var kept = members.filter { _, value in
            switch value {
            case .string(let text), .literal(let text): text.utf8.count <= maximumTextBytes
            case .array, .object: false
            case .null, .bool, .integer, .number: true
            }
        }
        kept["shortened"] = .bool(true)
        return .object(kept)
    }

    var data: JSONValue {
        // It was made of a value; nothing else is ever stored.
        (try? JSONReader.value(json)) ?? .null
    }
}

/// The last events of this run, for any number of listeners.
///
/// There is one ring and no queue per listener: a listener only remembers how far it has read. One that falls further
/// behind than the ring is long is told how many it missed, so a slow reader costs nothing and holds up nobody. Figures
/// of thousands of nodes do not push the rest out: only the newest of each is kept, and they have places of their own.
final class EventFeed: Sendable {
    /// What a listener gets when it asks for what is new.
    struct Batch: Sendable {
        /// Events that have left the ring before they were read; 0 normally. Among them may be superseded ones.
        var missed: UInt64
        var events: [HubEvent]
    }

    /// Enough for a browser that was away for a minute on a hub with 2,000 nodes; about half a kilobyte each.
    static let capacity = 5000
    /// Of events that the next of their name supersedes, so many are kept besides. One that gives way to others is not missed: the
    /// next of its name comes soon.
    static let passingCapacity = 2500
    /// How many more gather before the oldest are dropped, all at once.
    static let slack = 500
    /// What they all may take, in bytes. When there is more the oldest are dropped until an eighth is free.
    static let capacityBytes = 16 << 20
    /// Most events handed out at once, so that one listener is written to in bounded pieces.
    static let batchLimit = 100
    /// And most bytes, so that a listener who takes nothing costs no more than these.
    static let batchBytes = 256 << 10

    private struct State {
        /// In the order of their sequence; superseded ones stay until the next tidying.
        var ring: [HubEvent] = []
        /// Of those in the ring.
        var bytes = 0
        /// The newest event of each name that supersedes.
        var newestByName: [String: UInt64] = [:]
        /// The newest event that left the ring unread by somebody.
        var droppedThrough: UInt64 = 0
        var next: UInt64 = 1
        /// As long as the ring may become before it is tidied.
        var room = EventFeed.capacity + EventFeed.slack
        var nextListener = 0
        var listeners: [Int: AsyncStream<Void>.Continuation] = [:]

        func isSuperseded(_ event: HubEvent) -> Bool {
            guard let name = event.supersedes else { return false }
            return newestByName[name] != event.sequence
        }

        /// Drops what is superseded, and then the oldest.
        mutating func tidy() {
            ring.removeAll(where: isSuperseded)
            dropPassing()
            bytes = ring.reduce(0) { $0 + $1.bytes }
            var excess = excessOfLasting
            defer { room = max(EventFeed.capacity, ring.count) + EventFeed.slack }
            if bytes > EventFeed.capacityBytes, Defence.eventBytes.isUp {
                var rest = bytes - ring.prefix(excess).reduce(0) { $0 + $1.bytes }
                while rest > EventFeed.capacityBytes / 8 * 7, excess < ring.count {
                    rest -= ring[excess].bytes
                    excess += 1
                }
            }
            guard excess > 0 else { return }
            let dropped = ring.prefix(excess)
            bytes -= dropped.reduce(0) { $0 + $1.bytes }
            droppedThrough = dropped.last?.sequence ?? droppedThrough
            for event in dropped {
                if let name = event.supersedes, newestByName[name] == event.sequence { newestByName[name] = nil }
            }
            ring.removeFirst(dropped.count)
        }

        private mutating func dropPassing() {
            var surplus = ring.count { $0.supersedes != nil } - EventFeed.passingCapacity
            ring.removeAll { event in
                guard surplus > 0, let name = event.supersedes else { return false }
                surplus -= 1
                newestByName[name] = nil
                return true
            }
        }

        /// How many from the ring's beginning go, so that no more than there is room for of those that stay are left.
        private var excessOfLasting: Int {
            var surplus = ring.count { $0.supersedes == nil } - EventFeed.capacity
            guard surplus > 0 else { return 0 }
            return ring.firstIndex { event in
                surplus -= event.supersedes == nil ? 1 : 0
                return surplus == 0
            }.map { $0 + 1 } ?? 0
        }

        /// The place of the first event after a sequence.
        func index(after sequence: UInt64) -> Int {
            var (low, high) = (0, ring.count)
            while low < high {
                let middle = (low + high) / 2
                if ring[middle].sequence <= sequence { low = middle + 1 } else { high = middle }
            }
            return low
        }
    }

    /// Tells one run of the hub from another, because sequences start again.
    let run: String
    private let state = Mutex(State())

    init(run: String = SecretBytes.base64URL(SecretBytes.random(count: 6))) {
        self.run = run
    }

    /// The sequence of the newest event, 0 before the first.
    var newest: UInt64 { state.withLock { $0.next - 1 } }

    /// What the kept events take, in bytes.
    var bytes: Int { state.withLock { $0.bytes } }

    /// Adds an event and wakes the listeners. Never blocks.
    ///
    /// - Parameter supersedes: earlier events published under the same name need not be read any more.
    func publish(_ type: String, at date: Date, _ data: JSONValue, supersedes: String? = nil) {
        let listeners = state.withLock { state in
            let event = HubEvent(sequence: state.next, type: type, at: date, data: data, supersedes: supersedes)
            state.next += 1
            if let supersedes { state.newestByName[supersedes] = event.sequence }
            // One array that is tidied in bulk: cheaper than shifting it for each event.
            state.ring.append(event)
            state.bytes += event.bytes
            if state.ring.count >= state.room || state.bytes > Self.capacityBytes { state.tidy() }
            return Array(state.listeners.values)
        }
        for listener in listeners {
            listener.yield()
        }
    }

    /// What came after `cursor`, which is moved past it.
    func read(after cursor: inout UInt64) -> Batch {
        state.withLock { state in
            var missed: UInt64 = 0
            if cursor < state.droppedThrough {
                missed = state.droppedThrough - cursor
                cursor = state.droppedThrough
            }
            var events: [HubEvent] = []
            var bytes = 0
            var index = state.index(after: cursor)
            while index < state.ring.count, events.count < Self.batchLimit,
                bytes < Self.batchBytes || !Defence.eventBytes.isUp
            {
                let event = state.ring[index]
                cursor = event.sequence
                if !state.isSuperseded(event) {
                    events.append(event)
                    bytes += event.bytes
                }
                index += 1
            }
            return Batch(missed: missed, events: events)
        }
    }

    /// The newest events that are wanted, newest first, older than `before`.
    func history(before: UInt64?, limit: Int, where isWanted: (HubEvent) -> Bool) -> [HubEvent] {
        let ring = state.withLock { state in
            state.ring.filter { !state.isSuperseded($0) && $0.sequence < before ?? .max }
        }
        return Array(ring.reversed().lazy.filter(isWanted).prefix(limit))
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
        guard let number = parts.last.flatMap({ UInt64(decimal: $0) }), lastEventID == eventID(number) else {
            return nil
        }
        return min(number, newest)
    }

    /// The `id:` an event is sent with.
    func eventID(_ sequence: UInt64) -> String { "\(run)-\(sequence)" }
}

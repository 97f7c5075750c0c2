import Foundation
import SwiftProtobuf
import Synchronization
import WireFormat

/// Reads a bot's log across the nodes that have parts of it, as if it were in one place.
///
/// Of a part whose node is away what the hub keeps itself is read. What nobody has, or can give now, is passed over by a line of
/// the supervisor that says so: a hole is always visible.
struct ChainedLogs: AgentChannel {
    let channel: any AgentChannel
    let places: LogPlaceStore
    /// What the hub keeps, where it is set to.
    let archive: LogArchive?

    func logs(_ request: WireLogRequest, on node: NodeID) async throws -> LogSubscription {
        guard case .fromOffset(let offset)? = request.start else { return try await channel.logs(request, on: node) }
        let all = try await places.list(BotID(rawValue: request.botID))
        guard let last = all.last, last.node == node, offset < last.begin else {
            return try await channel.logs(request, on: node)
        }
        let reader = ChainedLogReader(
            channel: channel,
            archive: archive,
            request: request,
            offset: offset,
            places: all.filter { $0.end.map { $0 > offset } ?? true }
        )
        return LogSubscription(next: { try await reader.next() }, cancel: { reader.cancel() })
    }

    // MARK: - Everything else goes straight through

    func open(_ header: WireStreamHeader, on node: NodeID) async throws -> AgentStream {
        try await channel.open(header, on: node)
    }

    func ask(_ command: WireCommand, on node: NodeID, within limit: Duration) async throws -> WireCommandResult {
        try await channel.ask(command, on: node, within: limit)
    }

    func apply(_ settings: WireSessionSettings, on node: NodeID) async { await channel.apply(settings, on: node) }

    func isConnected(_ node: NodeID) async -> Bool { await channel.isConnected(node) }

    func waitUntilConnected(_ node: NodeID) async throws { try await channel.waitUntilConnected(node) }

    func disconnect(_ node: NodeID, code: UInt16, reason: String) async {
        await channel.disconnect(node, code: code, reason: reason)
    }
}

/// One reader's way through the places. Asked for one chunk at a time.
private actor ChainedLogReader {
    private let channel: any AgentChannel
    private let archive: LogArchive?
    private let request: WireLogRequest
    private var offset: UInt64
    private var rest: ArraySlice<LogPlaceStore.Place>
    private var current: (place: LogPlaceStore.Place, subscription: LogSubscription)?
    /// What is read is the hub's own copy.
    private var isCopy = false
    /// What is to be let go of when nobody reads any more.
    private nonisolated let open = Mutex((subscription: LogSubscription?.none, isCancelled: false))

    init(
        channel: any AgentChannel,
        archive: LogArchive?,
        request: WireLogRequest,
        offset: UInt64,
        places: [LogPlaceStore.Place]
    ) {
        self.channel = channel
        self.archive = archive
        self.request = request
        self.offset = offset
        rest = places[...]
    }

    func next() async throws -> WireLogChunk? {
        while !open.withLock(\.isCancelled) {
            if let (place, subscription) = current {
                if let chunk = try await take(place, subscription) { return chunk }
                current = nil
            }
            guard let place = rest.popFirst() else { return nil }
            do {
                let subscription = try await begin(place)
                let isCancelled = open.withLock { open in
                    open.subscription = subscription
                    return open.isCancelled
                }
                if isCancelled { subscription.cancel() }
                current = (place, subscription)
            } catch let error as HubError where place.end != nil {
                return hole(place, error.detail)
            }
        }
        return nil
    }

    /// - Returns: nil at the end of the place.
    private func take(_ place: LogPlaceStore.Place, _ subscription: LogSubscription) async throws -> WireLogChunk? {
        do {
            guard var chunk = try await subscription.next() else {
                guard let end = place.end else { return nil }
                defer { offset = max(offset, end) }
                guard isCopy, offset < end else { return nil }
                current = nil
                return hole(place, "its node is away, and the hub's copy of the log ends here")
            }
            if let end = place.end {
                chunk.nextOffset = min(chunk.nextOffset, end)
                // There is more, elsewhere.
                chunk.reachedEnd = false
            }
            offset = chunk.nextOffset
            return chunk
        } catch let error as CancellationError {
            throw error
        } catch  where place.end != nil {
            current = nil
            return hole(place, "its node has it no longer, or was lost while it was read")
        }
    }

    private func begin(_ place: LogPlaceStore.Place) async throws -> LogSubscription {
        var part = request
        part.start = .fromOffset(max(offset, place.begin))
        if let end = place.end {
            part.toOffset = end
            part.follow = false
        }
        isCopy = false
        do {
            return try await channel.logs(part, on: place.node)
        } catch let error as HubError where error.code == .nodeOffline && !part.follow {
            guard let kept = await archive?.subscription(part, on: place.node) else { throw error }
            isCopy = true
            return kept
        }
    }

    private func hole(_ place: LogPlaceStore.Place, _ reason: String) -> WireLogChunk? {
        guard let end = place.end, end > offset else { return WireLogChunk.with { $0.nextOffset = offset } }
        var line = WireLogLine()
        line.offset = offset
        line.source = .supervisor
        let text = JSONValue.object([
            "event": .string("elsewhere"), "node_id": .string(place.node.rawValue), "reason": .string(reason),
        ])
        // `try?`: three texts always encode.
        line.text = (try? JSONEncoder().encode(text)) ?? Data()
        var chunk = WireLogChunk()
        chunk.lines = [line]
        chunk.missingBytes = end - offset
        offset = end
        chunk.nextOffset = end
        return chunk
    }

    nonisolated func cancel() {
        let subscription = open.withLock { open in
            open.isCancelled = true
            return open.subscription
        }
        subscription?.cancel()
    }
}

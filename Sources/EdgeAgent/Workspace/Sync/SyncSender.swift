import FoundationEssentials
import SwiftProtobuf
import WebSocketKitLite
import WireFormat

/// Sends what a source has for its target: many small pieces in one message, compressed where that is quicker.
final class SyncSender {
    /// Of content in one message, in bytes: many small files travel together, and a large one in few messages.
    static let messageBytes = 128 << 10
    /// What a piece costs beside its content, in bytes.
    private static let partBytes = 64

    private let stream: SessionStream
    private var chooser = CompressionChooser()
    private var pending = WireSyncData()
    private var pendingBytes = 0
    private var began = ContinuousClock.now

    init(_ stream: SessionStream) {
        self.stream = stream
    }

    /// Sends a message of its own kind, after what waits.
    func send(_ message: WireSyncMessage, compressing: Bool = false) async throws {
        try await flush()
        try await stream.send(compressing ? try Self.deflated(message) : try message.serializedBytes())
    }

    /// Sends a piece, with others as soon as they fill a message.
    func send(_ part: WireSyncPart) async throws {
        if pending.parts.isEmpty { began = .now }
        if case .data(let data)? = part.content { pendingBytes += data.count }
        pendingBytes += Self.partBytes
        pending.parts.append(part)
        if pendingBytes >= Self.messageBytes { try await flush() }
    }

    func flush() async throws {
        guard !pending.parts.isEmpty else { return }
        var message = WireSyncMessage()
        message.data = pending
        pending = WireSyncData()
        let bytes = pendingBytes
        pendingBytes = 0
        try await stream.send(chooser.isCompressing ? try Self.deflated(message) : try message.serializedBytes())
        chooser.sent(bytes: bytes, in: .now - began)
        began = .now
    }

    /// The message compressed, or as it is where that would not make it smaller.
    private static func deflated(_ message: WireSyncMessage) throws -> [UInt8] {
        let plain: [UInt8] = try message.serializedBytes()
        guard let data = plain.withUnsafeBytes({ RawDeflate.compress($0) }) else { return plain }
        var outer = WireSyncMessage()
        outer.deflated.inflatedBytes = UInt32(clamping: plain.count)
        outer.deflated.data = Data(data)
        return try outer.serializedBytes()
    }

    /// The message that was sent, whether compressed or not. Throws `badData`.
    static func message(_ bytes: [UInt8]) throws(WorkspaceFailure) -> WireSyncMessage {
        guard let message = try? WireSyncMessage(bounded: bytes) else { throw unreadable }
        guard case .deflated(let deflated)? = message.body else { return message }
        guard deflated.inflatedBytes <= MuxLimits().maxMessageBytes else { throw unreadable }
        let plain = deflated.data.withUnsafeBytes {
            try? RawDeflate.inflate($0, count: Int(clamping: deflated.inflatedBytes))
        }
        guard let plain, let inner = try? WireSyncMessage(bounded: plain) else { throw unreadable }
        return inner
    }

    private static let unreadable = WorkspaceFailure(
        .badData,
        "the other side of the transfer sent what cannot be read"
    )
}

extension SessionStream {
    /// The next message of a transfer; nil once the other side has finished.
    func receiveSync() async throws -> WireSyncMessage? {
        try await receive().map { try SyncSender.message($0) }
    }

    func send(sync body: WireSyncMessage.OneOf_Body) async throws {
        try await send(message: WireSyncMessage.with { $0.body = body })
    }
}

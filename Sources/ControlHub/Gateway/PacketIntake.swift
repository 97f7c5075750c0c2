import SwiftProtobuf
import Synchronization
import WireFormat

/// Commits what comes over a session's packet stream and acknowledges it, in this order.
final class PacketIntake: Sendable {
    private let stream: SessionStream
    private let flag = Mutex(WorkFlag())

    init(_ stream: SessionStream) {
        self.stream = stream
    }

    /// Has `start` called whenever `run` is to be called. Once now, because packets may have come with the stream.
    func begin(_ start: @escaping @Sendable (PacketIntake) -> Void) {
        // Weak, because the stream is held from here.
        let wake: @Sendable () -> Void = { [weak self] in
            guard let self, self.flag.withLock({ $0.wake() }) else { return }
            start(self)
        }
        stream.whenChanged(wake)
        wake()
    }

    /// Takes all there is, one batch after the other.
    ///
    /// - Parameters:
    ///   - ingest: commits a batch and returns how far each bot's packets have come.
    ///   - charge: what is owed for a batch. The node is told with the acknowledgement.
    ///   - pay: returns when the next batch may be taken. Until then the stream's window holds the node back.
    func run(
        _ ingest: ([WireMonitorPacket]) async throws -> MonitorPacketStore.Ingested,
        charge: (MonitorPacketStore.Ingested) -> PacketDebt,
        pay: (PacketDebt) async throws -> Void
    ) async throws {
        repeat {
            flag.withLock { $0.look() }
            while let batch = try next() {
                let ingested = try await ingest(batch.packets)
                let debt = charge(ingested)
                let ack = WirePacketAck.with { ($0.cursors, $0.holds) = (ingested.cursors, debt.holds) }
                try await stream.send(message: ack)
                try await pay(debt)
            }
        } while !flag.withLock { $0.rest() }
    }

    private func next() throws -> WirePacketBatch? {
        switch try stream.receiveNow(WirePacketBatch.self) {
        case .message(let batch): return batch
        case .pending: return nil
        case .finished:
            stream.finish()
            return nil
        }
    }
}

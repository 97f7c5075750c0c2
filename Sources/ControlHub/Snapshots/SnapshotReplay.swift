import Foundation
import SwiftProtobuf
import WireFormat

/// Gives a snapshot to a node: the hub is the source of a transfer, and says again what the source said when the snapshot was
/// taken, as far as the target wants it.
struct SnapshotReplay: Sendable {
    private let reader: SnapshotFile.Reader
    private let target: AgentStream
    private var wishes = SnapshotWishes()

    init(_ reader: SnapshotFile.Reader, to target: AgentStream) {
        (self.reader, self.target) = (reader, target)
    }

    /// Runs one pass; as with any transfer a report without unstable files means that the tree is verified.
    mutating func run(
        progress: @escaping @Sendable (WireSyncProgress) async -> Void = { _ in }
    ) async throws -> WireSyncReport {
        try await sendManifest()
        while !wishes.isFinished {
            guard let bytes = try await target.receive() else { break }
            if let report = try await take(bytes, progress) { return report }
        }
        // Both ways at once: the target tells how far it is while it is being sent to.
        return try await withThrowingTaskGroup(of: WireSyncReport?.self) { group in
            defer { group.cancelAll() }
            group.addTask { [self] in
                try await sendFiles()
                return nil
            }
            group.addTask { [target] in try await Self.waitForReport(target, progress) }
            while let report = try await group.next() {
                if let report { return report }
            }
            throw HubError(.transferFailed, "The target ended the transfer without a report. Try again.")
        }
    }

    private mutating func sendManifest() async throws {
        var order = ManifestOrder()
        while let bytes = try await reader.next() {
            guard case .manifest(let manifest)? = try SyncMessageCoding.message(bytes).body else { break }
            do throws(SyncViolation) {
                for wire in manifest.entries {
                    let entry = try ManifestEntry(wire)
                    try order.take(entry)
                    wishes.add(entry)
                }
            } catch {
                throw HubError(.storageCorrupt, "The snapshot is damaged: \(error).")
            }
            try await target.send(bytes)
            if manifest.isLast { return }
        }
        throw SnapshotFile.Damaged()
    }

    /// What the target wants, before anything is sent.
    private mutating func take(
        _ bytes: [UInt8],
        _ progress: @Sendable (WireSyncProgress) async -> Void
    ) async throws -> WireSyncReport? {
        let message = try SyncMessageCoding.message(bytes)
        switch message.body {
        case .report(let report)?: return report
        case .progress(let figures)?: await progress(figures)
        case .failure(let failure)?: throw Self.error(failure)
        default:
            do throws(SyncViolation) {
                try wishes.receive(message)
            } catch {
                throw HubError(.transferFailed, "The target broke the rules of the transfer: \(error).")
            }
        }
        return nil
    }

    private func sendFiles() async throws {
        while let bytes = try await reader.next() {
            let message = try SyncMessageCoding.message(bytes)
            switch message.body {
            case .data(let data)?:
                let parts = data.parts.filter { wishes.isWanted($0.file) }
                guard !parts.isEmpty else { continue }
                if parts.count == data.parts.count {
                    try await target.send(bytes)
                } else {
                    let rest = WireSyncMessage.with { $0.data.parts = parts }
                    try await target.send(try rest.serializedBytes())
                }
            case .end?:
                try await target.send(bytes)
                target.finish()
                return
            default: throw SnapshotFile.Damaged()
            }
        }
        throw SnapshotFile.Damaged()
    }

    private static func waitForReport(
        _ target: AgentStream,
        _ progress: @Sendable (WireSyncProgress) async -> Void
    ) async throws -> WireSyncReport? {
        while let bytes = try await target.receive() {
            switch try SyncMessageCoding.message(bytes).body {
            case .report(let report)?: return report
            case .progress(let figures)?: await progress(figures)
            case .failure(let failure)?: throw error(failure)
            default: continue
            }
        }
        return nil
    }

    private static func error(_ failure: WireSyncFailure) -> HubError {
        WorkspaceErrors.error(
            WireWorkspaceFailure.with {
                $0.code = failure.code
                $0.message = failure.message
            }
        )
    }
}

import SwiftProtobuf
import WireFormat

/// Counts what a workspace holds.
enum WorkspaceMeter {
    private static let batch = 1_000

    /// - Throws: `WorkspaceFailure` where it cannot be read, or holds too much to be counted.
    static func measure(_ root: BeneathDirectory, maxEntries: Int) throws(WorkspaceFailure) -> WireWorkspaceSize {
        var size = WireWorkspaceSize()
        size.exists = true
        // Only to give the scanner what it asks; what it finds is not kept.
        var cache = DigestCache(path: "/dev/null")
        let scanner = try TreeScanner(root, maxEntries: maxEntries)
        while let batch = try scanner.next(Self.batch, cache: &cache) {
            for (entry, facts) in zip(batch.entries, batch.facts) where entry.isFile {
                size.files += 1
                size.bytes = size.bytes.clampedAdding(entry.size)
                size.modifiedUnixMs = max(
                    size.modifiedUnixMs,
                    UInt64(clamping: max(0, facts.modifiedNanoseconds)) / 1_000_000
                )
            }
        }
        // Half of it is no size.
        try scanner.requireAll()
        return size
    }
}

extension WorkspaceService {
    func measure(_ request: WireMeasureWorkspace) async -> WireCommandResult {
        await withTaskExecutorPreference(executor) {
            do throws(WorkspaceFailure) {
                if Defence.workspacePreviews.isUp { try files.rules.check(request.botID, .read, .root) }
                let root = try files.root(request.botID)
                let size = try WorkspaceMeter.measure(root, maxEntries: files.limits.maxDirectoryEntries)
                return WireCommandResult.with {
                    $0.outcome = .done
                    $0.workspaceSize = size
                }
            } catch {
                return WireCommandResult.with {
                    $0.outcome = error.code == .botNotFound ? .done : .failed
                    $0.errorCode = error.code == .botNotFound ? "" : error.code.rawValue
                    $0.message = error.code == .botNotFound ? "" : error.message
                    $0.workspaceSize = WireWorkspaceSize()
                }
            }
        }
    }
}

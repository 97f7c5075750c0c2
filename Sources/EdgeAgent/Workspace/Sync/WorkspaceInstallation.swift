import CLinux
import Glibc
import SwiftProtobuf
import WireFormat

/// Where a transfer lies beside its workspace, among the agent's own files of the bot: `transfers/<id>/`.
///
/// - `tree/`: the staging tree. After installing it is the workspace, and what was the workspace is here.
/// - `partial/`: files that have not come to their end.
/// - `verified`: the digest of the tree, once it was compared with the source's. Gone while the tree is being changed.
/// - `installed`: the inode of the tree, written before it is exchanged. Where the workspace has this inode the exchange
///   has been done, whenever the agent was killed.
struct TransferDirectory: Sendable {
    /// Enough for any id a hub makes.
    private static let idBytes = 1...64

    let path: String
    private let bot: BotDirectory

    var workspace: String { bot.workspace }
    /// The directory of all bots.
    var botsDirectory: String { String(bot.path.dropLast(bot.botID.utf8.count + 1)) }
    /// Where what is removed of it is deleted.
    var removed: String { path + "/removed" }

    /// What of the trees came from the hub.
    var provenance: HubProvenance { HubProvenance(bot) }

    var tree: String { path + "/tree" }
    var partial: String { path + "/partial" }
    private var verified: String { path + "/verified" }
    private var installed: String { path + "/installed" }

    init(_ bot: BotDirectory, id: String) throws(WorkspaceFailure) {
        let isPlain = id.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
        }
        guard Self.idBytes.contains(id.utf8.count), isPlain else {
            throw WorkspaceFailure(
                .badPath,
                "a transfer id is 1 to 64 of A-Z a-z 0-9 _ -; this is none: \(id.prefix(80))"
            )
        }
        self.bot = bot
        path = bot.transfers + "/" + id
    }

    /// Makes what is missing.
    func make() throws(WorkspaceFailure) {
        do {
            try bot.makeControl()
        } catch {
            throw WorkspaceFailure(.unavailable, error.message)
        }
        do {
            for directory in [bot.transfers, path, tree, partial] { try Files.makeDirectory(directory, mode: 0o700) }
        } catch {
            throw WorkspaceFailure(errno: error.code, .root)
        }
    }

    var exists: Bool { access(tree, F_OK) == 0 }

    /// The digest the tree was verified to have; nil while it is not known to be complete.
    var digest: Digest256? {
        guard let bytes = try? Files.read(verified) else { return nil }  // unreadable: not verified
        return Digest256(bytes)
    }

    func setDigest(_ digest: Digest256?) throws(WorkspaceFailure) {
        guard let digest else {
            guard unlink(verified) == 0 || errno == ENOENT else { throw WorkspaceFailure(.root) }
            return
        }
        do {
            try Files.replace(verified, with: digest.bytes, mode: 0o600)
        } catch {
            throw WorkspaceFailure(errno: error.code, .root)
        }
    }

    /// The inode of a directory.
    private static func inode(_ path: String) -> UInt64? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        return UInt64(clamping: status.st_ino)
    }

    /// Whether the transfer's tree is the workspace now.
    var isInstalled: Bool {
        // fits: text. An inode may use all 64 bits, and is only compared.
        guard let text = try? Files.read(installed), let inode = UInt64(String(decoding: text, as: UTF8.self))
        else { return false }
        return Self.inode(workspace) == inode
    }

    /// Exchanges tree and workspace unless it has been done. One rename; whoever is killed leaves one or the other.
    ///
    /// - Parameter judge: why the node's owner does not want it; nil where nothing speaks against it.
    func install(expecting expected: Digest256?, judge: (_ tree: String) -> String?) throws(WorkspaceFailure) {
        guard !isInstalled else { return try setDigest(nil) }
        guard exists, let found = digest else {
            throw WorkspaceFailure(
                .notFound,
                "there is no complete transfer of this name; transfer the workspace again"
            )
        }
        guard expected == nil || expected == found else {
            throw WorkspaceFailure(.changed, "the transferred tree is not the one that was verified; transfer it again")
        }
        if let reason = judge(tree) { throw WorkspaceFailure(.refused, reason) }
        guard provenance.isNoted(try BeneathDirectory(tree)) else {
            throw WorkspaceFailure(
                .notFound,
                "the transferred tree is from before the agent was upgraded; transfer the workspace again"
            )
        }
        try makeWorkspace()
        guard let inode = Self.inode(tree) else { throw WorkspaceFailure(.root) }
        do {
            try Files.replace(installed, with: Array(String(inode).utf8), mode: 0o600)
        } catch {
            throw WorkspaceFailure(errno: error.code, .root)
        }
        try exchange()
        // From now on the bot may change it.
        try setDigest(nil)
    }

    /// Puts back what was the workspace before. Does nothing where this transfer is not installed.
    func revert() throws(WorkspaceFailure) {
        guard isInstalled else { return }
        guard exists else {
            throw WorkspaceFailure(.notFound, "the workspace from before this transfer is not kept any more")
        }
        try exchange()
    }

    private func makeWorkspace() throws(WorkspaceFailure) {
        do {
            try Files.makeDirectory(workspace, mode: 0o700)
        } catch {
            throw WorkspaceFailure(errno: error.code, .root)
        }
    }

    private func exchange() throws(WorkspaceFailure) {
        var result = CLinux_exchange(AT_FDCWD, tree, AT_FDCWD, workspace)
        if result != 0, errno == EACCES {
            // A bot may have taken the right to write from its workspace itself; who is not root cannot move it then.
            fchmodat(AT_FDCWD, workspace, 0o700, AT_SYMLINK_NOFOLLOW)
            fchmodat(AT_FDCWD, tree, 0o700, AT_SYMLINK_NOFOLLOW)
            result = CLinux_exchange(AT_FDCWD, tree, AT_FDCWD, workspace)
        }
        guard result == 0 else {
            if errno == EINVAL || errno == ENOSYS {
                throw WorkspaceFailure(
                    .unsupported,
                    "the node's file system cannot exchange two directories at once; keep the agent's state on ext4, xfs, "
                        + "btrfs or tmpfs"
                )
            }
            throw WorkspaceFailure(.root)
        }
        for path in [path, bot.path] {
            let descriptor = RegularFile.openDirectory(path)
            if descriptor >= 0 {
                fsync(descriptor)
                close(descriptor)
            }
        }
    }
}

extension WorkspaceService: WorkspaceInstaller {
    func install(_ request: WireInstallWorkspace) async -> WireCommandResult {
        await result { () throws(WorkspaceFailure) in
            let bot = try files.paths(request.botID)
            let transfer = try TransferDirectory(bot, id: request.transferID)
            guard !bot.isSupervised else {
                throw WorkspaceFailure(.botRunning, "bot \(request.botID) is running on this node; stop it first")
            }
            if request.revert {
                try transfer.revert()
            } else {
                try transfer.install(expecting: Digest256(request.digest)) {
                    files.rules.installation(request.botID, $0)
                }
            }
        }
    }

    func discard(_ request: WireDiscardTransfer) async -> WireCommandResult {
        await result { () throws(WorkspaceFailure) in
            let bot = try files.paths(request.botID)
            let transfer = try TransferDirectory(bot, id: request.transferID)
            guard access(transfer.path, F_OK) == 0 else { return }
            let parent = try BeneathDirectory(bot.transfers)
            // `try?`: a transfer that never began has no tree.
            if let tree = try? BeneathDirectory(transfer.tree) { transfer.provenance.forget(tree) }
            try TreeRemover(bin: bot.removed).remove(
                Array(request.transferID.utf8CString),
                of: parent.descriptor,
                path: .root
            )
        }
    }

    private func result(_ body: @escaping @Sendable () throws(WorkspaceFailure) -> Void) async -> WireCommandResult {
        await withTaskExecutorPreference(executor) {
            do throws(WorkspaceFailure) {
                try body()
                return WireCommandResult.with { $0.outcome = .done }
            } catch {
                return WireCommandResult.with {
                    $0.outcome = .failed
                    $0.errorCode = error.code.rawValue
                    $0.message = error.message
                }
            }
        }
    }
}

import FoundationEssentials
import Glibc
import SwiftProtobuf
import Synchronization
import WireFormat

/// Makes a staging tree like the workspace on the other side.
///
/// Two things go on at once: asking for what is missing, which reads files that are there already, and taking what comes.
/// Neither waits for the other, so that a slow answer does not hold up the next question.
final class SyncTargetSession {
    /// Changes named in a preview; all are counted.
    private static let maxChanges = 1000
    private static let progressInterval = Duration.milliseconds(300)

    /// The machine, which both tasks move.
    final class Machine: Sendable {
        let state: Mutex<SyncTargetMachine>

        init(_ limits: SyncTargetMachine.Limits) { state = Mutex(SyncTargetMachine(limits: limits)) }
    }

    private let request: WireSyncTarget
    private let transfer: TransferDirectory
    private let tree: StagingTree
    private let stream: SessionStream
    private let machine: Machine
    private let reserveBytes: UInt64
    private let rules: WorkspaceGuard.Rules
    private let linkRules: WorkspaceGuard.LinkRules
    private let installation: @Sendable (_ tree: String) -> String?
    private let maxEntries: Int
    private let maxFileBytes: UInt64
    private let maxBytes: UInt64
    private var entries: [ManifestEntry] = []
    private var actions: [ManifestDiff.Action] = []
    private var wishes: [SyncAsker.Wish] = []
    private var lost: Set<Int> = []
    /// Files whose content came out as something else than was said.
    private var damaged = 0
    private var holes = HoleLimit()
    /// The file that is coming, and where it is written.
    private var current: StagedFile?
    private var place = StagingTree.Place.own
    private let flusher: BackgroundFlusher
    private var report = WireSyncReport()
    private var progress = WireSyncProgress()
    private var toldProgress = ContinuousClock.now

    init(
        _ request: WireSyncTarget,
        transfer: TransferDirectory,
        cachePath: String,
        stream: SessionStream,
        reserveBytes: UInt64,
        rules: WorkspaceGuard = .open,
        limits: SyncTargetMachine.Limits = SyncTargetMachine.Limits()
    ) throws(WorkspaceFailure) {
        self.request = request
        self.transfer = transfer
        self.stream = stream
        self.reserveBytes = reserveBytes
        self.rules = rules.rules(request.botID)
        linkRules = rules.links
        installation = { rules.installation(request.botID, $0) }
        maxEntries = limits.maxEntries
        maxFileBytes = rules.fileBytes() ?? .max
        maxBytes = rules.workspaceBytes() ?? .max
        machine = Machine(limits)
        tree = try StagingTree(
            transfer,
            cachePath: cachePath,
            isPreview: request.preview,
            maxEntries: limits.maxEntries
        )
        flusher = BackgroundFlusher(tree.tree)
    }

    /// Runs until the tree is like the other and on disk.
    ///
    /// - Throws: `WorkspaceFailure` for what hub and source must be told, anything else where the stream has ended.
    func run() async throws {
        // Also what would be done tells names and sizes of what is there.
        if Defence.workspacePreviews.isUp, let reason = rules(.read, .root) {
            throw WorkspaceFailure(.refused, reason)
        }
        try await receiveManifest()
        try tree.scan(rehash: request.rehash)
        let diff = ManifestDiff(wanted: entries, present: tree.present)
        actions = diff.actions
        report.entries = UInt64(entries.count)
        report.totalBytes = entries.reduce(0) { $0.clampedAdding($1.size) }
        report.availableBytes = tree.availableBytes
        if request.preview {
            if Defence.workspacePreviews.isUp { try checkRules() }
            preview(diff)
            try await stream.send(sync: .report(report))
            return
        }
        try checkRules()
        try transfer.setDigest(nil)
        try makeStructure(diff)
        try makeWishes(diff)
        let asker = SyncAsker(entries: entries, finder: tree.found, machine: machine, stream: stream)
        let flusher = flusher
        try await withThrowingTaskGroup { group in
            group.addTask { [wishes] in try await asker.ask(wishes) }
            group.addTask { await flusher.run() }
            try await receiveFiles()
            flusher.stop()
            try await group.waitForAll()
        }
        try await stream.send(sync: .report(report))
    }

    private func receiveManifest() async throws {
        while true {
            guard let message = try await stream.receiveSync() else {
                throw WorkspaceFailure(.badData, "the source ended before its list was complete")
            }
            for event in try receive(message) {
                switch event {
                case .manifestComplete:
                    machine.state.withLock { machine in
                        entries = machine.entries
                        report.skipped = machine.skipped
                        report.skippedCount = UInt64(clamping: machine.skippedCount)
                    }
                    return
                case .failed(let code, let message): throw Self.failure(code, message)
                case .begin, .piece, .end, .sourceDone: break
                }
            }
        }
    }

    private func receive(_ message: WireSyncMessage) throws(WorkspaceFailure) -> [SyncTargetMachine.Event] {
        let result = machine.state.withLock { machine -> Result<[SyncTargetMachine.Event], SyncViolation> in
            do throws(SyncViolation) { return .success(try machine.receive(message)) } catch { return .failure(error) }
        }
        switch result {
        case .success(let events): return events
        case .failure(let error):
            throw WorkspaceFailure(.badData, "the source broke the rules of the transfer: \(error)")
        }
    }

    private static func failure(_ code: String, _ message: String) -> WorkspaceFailure {
        WorkspaceFailure(WorkspaceFailure.Code(rawValue: code) ?? .unavailable, message)
    }

    // MARK: - What is to be done

    /// What the node's owner does not allow is refused before anything is written.
    private func checkRules() throws(WorkspaceFailure) {
        guard report.totalBytes <= maxBytes else {
            throw WorkspaceFailure(
                .refused,
                "the workspace has \(report.totalBytes) bytes, and the target's policy allows \(maxBytes) (caps.workspace_bytes)"
            )
        }
        if entries.isEmpty, let reason = rules(.write, .root) { throw WorkspaceFailure(.refused, reason) }
        if let reason = installation(transfer.tree) { throw WorkspaceFailure(.refused, reason) }
        // Also what has come in an earlier pass: the node's owner may have changed their mind since.
        for entry in entries {
            if let reason = rules(.write, entry.path) { throw WorkspaceFailure(.refused, reason) }
            guard entry.size <= maxFileBytes else {
                throw WorkspaceFailure(
                    .refused,
                    "\(entry.path) has \(entry.size) bytes, and the target's policy allows \(maxFileBytes) (caps.file_bytes)"
                )
            }
        }
        try checkLinks()
    }

    /// The text of a link is data and nothing here follows it, but the bot will.
    private func checkLinks() throws(WorkspaceFailure) {
        var destinations = LinkDestinations(entries)
        for entry in entries {
            guard case .symlink(let text) = entry.kind,
                case .outside(let place) = destinations.destination(of: entry.path, text: text)
            else { continue }
            if let reason = linkRules(entry.path, place) { throw WorkspaceFailure(.refused, reason) }
        }
    }

    private func preview(_ diff: ManifestDiff) {
        func tell(_ entry: ManifestEntry, _ kind: WireSyncChange.Kind) {
            guard report.changes.count < Self.maxChanges else { return }
            var change = WireSyncChange()
            change.path = Data(entry.path.bytes)
            change.kind = kind
            change.type = entry.wire.type
            change.size = entry.size
            report.changes.append(change)
        }
        for (index, entry) in entries.enumerated() {
            let presentIndex = diff.presentIndex[index]
            switch diff.actions[index] {
            case .keep: continue
            case .attributes: continue
            case .make where presentIndex >= 0 && entry.kind == tree.present[presentIndex].kind: continue
            case .compare, .update, .fetch, .make:
                // What neither side has read is judged by size and time.
                if presentIndex >= 0, entry.isFile, entry.digest == nil || diff.actions[index] == .compare,
                    tree.present[presentIndex].isFile, tree.present[presentIndex].size == entry.size,
                    tree.present[presentIndex].modifiedNanoseconds == entry.modifiedNanoseconds
                {
                    continue
                }
                if presentIndex >= 0 { report.changed += 1 } else { report.added += 1 }
                report.changedBytes = report.changedBytes.clampedAdding(entry.size)
                tell(entry, presentIndex >= 0 ? .change : .add)
            }
        }
        let wanted = Set(diff.presentIndex)
        for index in diff.removals.reversed() where !wanted.contains(index) {
            report.removed += 1
            tell(tree.present[index], .remove)
        }
    }

    private func makeStructure(_ diff: ManifestDiff) throws(WorkspaceFailure) {
        let wanted = Set(diff.presentIndex)
        for index in diff.removals {
            let entry = tree.present[index]
            try tree.remove(entry.path, isDirectory: entry.kind == .directory)
            if !wanted.contains(index) { report.removed += 1 }
        }
        for (index, entry) in entries.enumerated() where actions[index] == .make {
            switch entry.kind {
            case .directory: try tree.makeDirectory(entry.path)
            case .symlink(let text): try tree.makeLink(entry.path, text: text)
            // When its file is complete.
            case .hardLink: continue
            case .file: continue
            }
            count(diff.presentIndex[index])
        }
    }

    private func count(_ presentIndex: Int) {
        if presentIndex >= 0 { report.changed += 1 } else { report.added += 1 }
    }

    private func makeWishes(_ diff: ManifestDiff) throws {
        var bytes: UInt64 = 0
        for (index, entry) in entries.enumerated() {
            try Task.checkCancellation()
            let presentIndex = diff.presentIndex[index]
            if actions[index] == .compare { actions[index] = compare(entry, presentIndex) }
            switch actions[index] {
            case .fetch, .update:
                guard entry.isFile else { continue }
                count(presentIndex)
                if try adopt(index, entry, presentIndex) { continue }
                report.changedBytes = report.changedBytes.clampedAdding(entry.size)
                bytes = bytes.clampedAdding(entry.size)
                wishes.append(
                    SyncAsker.Wish(
                        file: index,
                        presentIndex: presentIndex,
                        byBlocks: isWorthBlocks(entry, index, presentIndex)
                    )
                )
            case .keep, .attributes, .make, .compare: continue
            }
        }
        progress.bytesTotal = bytes
        progress.filesTotal = UInt64(wishes.count)
        // Files that are only changed take their room already, but which ones is not known before.
        let added = wishes.filter { $0.presentIndex < 0 }.reduce(UInt64(0)) {
            $0.clampedAdding(entries[$1.file].size)
        }
        let available = tree.availableBytes
        guard available >= reserveBytes, available - reserveBytes >= added else {
            throw WorkspaceFailure(
                .diskFull,
                "the workspace needs \(added) more bytes on the target, where \(available) are free and \(reserveBytes) stay "
                    + "free; free some space there"
            )
        }
    }

    /// A file of the right size whose content nobody remembers is read.
    private func compare(_ entry: ManifestEntry, _ presentIndex: Int) -> ManifestDiff.Action {
        guard let basis = tree.found.basis(entry.path, presentIndex: presentIndex), let own = BasisFinder.digest(basis),
            own == entry.digest
        else { return .update }
        tree.cache.keep(own, of: basis.facts, readAt: nil)
        return .attributes
    }

    /// Takes a file from the workspace where it is the same there.
    private func adopt(_ index: Int, _ entry: ManifestEntry, _ presentIndex: Int) throws(WorkspaceFailure) -> Bool {
        guard presentIndex < 0, let digest = entry.digest, let earlier = tree.found.earlier(entry.path),
            earlier.facts.size == entry.size
        else { return false }
        let own = earlier.digest ?? BasisFinder.digest(earlier)
        guard own == digest else { return false }
        try tree.adopt(entry, earlier, digest: digest)
        report.copiedBytes = report.copiedBytes.clampedAdding(entry.size)
        return true
    }

    private func isWorthBlocks(_ entry: ManifestEntry, _ index: Int, _ presentIndex: Int) -> Bool {
        guard entry.size >= ManifestDiff.minimumUpdateBytes,
            let basis = tree.found.basis(entry.path, presentIndex: presentIndex)
        else { return false }
        return basis.facts.size >= ManifestDiff.minimumUpdateBytes
    }

    // MARK: - Taking what comes

    private func receiveFiles() async throws {
        while let message = try await stream.receiveSync() {
            if try take(message) { return }
            try await tellProgress()
        }
        throw WorkspaceFailure(.badData, "the source ended before everything had come")
    }

    /// - Returns: whether that was all.
    private func take(_ message: WireSyncMessage) throws(WorkspaceFailure) -> Bool {
        for event in try receive(message) {
            switch event {
            case .begin(let file, let fromBasis, let inPlace):
                let basis = fromBasis ? basis(of: file) : nil
                (current, place) = try tree.begin(
                    entries[file].path,
                    size: entries[file].size,
                    basis: basis,
                    inPlace: inPlace
                )
            case .piece(let file, let offset, let content):
                if case .zeros(let count) = content {
                    try holes.take(count, of: entries[file].path, size: entries[file].size)
                }
                if let current { try take(content, at: offset, current) }
            case .end(let file, let length, let end):
                if let current { try finish(file, current, length, end) }
                current = nil
            case .sourceDone(let digest):
                try complete(digest)
                return true
            case .failed(let code, let message): throw Self.failure(code, message)
            case .manifestComplete: break
            }
        }
        return false
    }

    private func basis(of file: Int) -> BasisFinder.Basis? {
        // Wishes are in the order of their files.
        var low = 0
        var high = wishes.count
        while low < high {
            let middle = (low + high) / 2
            if wishes[middle].file < file { low = middle + 1 } else { high = middle }
        }
        let presentIndex = low < wishes.count && wishes[low].file == file ? wishes[low].presentIndex : -1
        return tree.found.basis(entries[file].path, presentIndex: presentIndex)
    }

    private func take(
        _ content: WireSyncPart.OneOf_Content,
        at offset: UInt64,
        _ file: StagedFile
    ) throws(WorkspaceFailure) {
        switch content {
        case .data(let data):
            var failure: WorkspaceFailure?
            data.withUnsafeBytes { bytes in
                do throws(WorkspaceFailure) { try file.write(bytes, at: offset) } catch { failure = error }
            }
            if let failure { throw failure }
            report.receivedBytes += UInt64(data.count)
            progress.bytesDone += UInt64(data.count)
            flusher.wrote(data.count)
        case .zeros(let count):
            try file.zeros(count, at: offset)
            progress.bytesDone = progress.bytesDone.clampedAdding(count)
        case .copy(let copy):
            try file.copy(from: copy.offset, copy.length, to: offset)
            report.copiedBytes = report.copiedBytes.clampedAdding(copy.length)
            progress.bytesDone = progress.bytesDone.clampedAdding(copy.length)
        }
    }

    private func finish(
        _ file: Int,
        _ staged: StagedFile,
        _ length: UInt64,
        _ end: WireSyncFileEnd
    ) throws(WorkspaceFailure) {
        progress.filesDone += 1
        // Of an agent that goes on without what it may not read.
        guard end.outcome != .unreadable else {
            throw WorkspaceFailure(
                .denied,
                "\(entries[file].path) cannot be read by the source's agent; let it read the file (chmod, chown) or remove it"
            )
        }
        guard end.outcome == .complete, let digest = Digest256(end.sha256) else {
            lost.insert(file)
            report.unstable += 1
            return
        }
        entries[file].size = length
        entries[file].mode = end.mode & 0o777
        entries[file].modifiedNanoseconds = end.modifiedUnixNs
        entries[file].digest = digest
        let own = try staged.finish(mode: end.mode, modifiedNanoseconds: end.modifiedUnixNs)
        guard own == digest else {
            // It was written to in a way its times do not tell; the next pass reads it again.
            damaged += 1
            report.unstable += 1
            return
        }
        try tree.place(entries[file].path, from: place, digest: digest)
    }

    private func tellProgress() async throws {
        guard .now - toldProgress >= Self.progressInterval else { return }
        toldProgress = .now
        try await stream.send(sync: .progress(progress))
    }

    private func complete(_ sourceDigest: Digest256) throws(WorkspaceFailure) {
        let lostPaths = Set(lost.map { entries[$0].path })
        for (index, entry) in entries.enumerated() {
            switch entry.kind {
            case .hardLink(let first):
                guard !lostPaths.contains(first) else { continue }
                try tree.makeHardLink(entry.path, to: first)
            case .file where actions[index] == .attributes: try tree.setAttributes(entry)
            case .file, .directory, .symlink: continue
            }
        }
        let digest = ManifestDigest.compute(entries, without: lost, by: ContentDigest.function)
        report.digest = Data(digest.bytes)
        guard damaged > 0 || digest == sourceDigest else {
            throw WorkspaceFailure(.badData, "the trees differ after the transfer; transfer the workspace again")
        }
        // Before the tree can be installed, and while no mode keeps the agent from listing it.
        if report.unstable == 0 { try transfer.provenance.noteAll(in: tree.tree, maxEntries: maxEntries) }
        // What lies deepest first: making something in a directory moves its time.
        for entry in entries.reversed() where entry.kind == .directory { try tree.setAttributes(entry) }
        try tree.flush()
        tree.cache.save()
        guard report.unstable == 0 else { return }
        try transfer.setDigest(digest)
    }
}

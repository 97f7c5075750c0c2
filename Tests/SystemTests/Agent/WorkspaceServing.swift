import Glibc
import Logging
import SwiftProtobuf
import WireFormat

@testable import EdgeAgent

/// What one run of the agent does with workspaces: the real `WorkspaceService` over the machine's disk, on the simulation's thread
/// and with the rights of the agent's user.
final class WorkspaceServing {
    private unowned let process: AgentProcess
    private let disk: NodeDisk
    private let executor: SteppedExecutor
    private let service: WorkspaceService

    private var simulation: Simulation { process.simulation }

    init(_ process: AgentProcess, _ disk: NodeDisk) {
        self.process = process
        self.disk = disk
        executor = SteppedExecutor(process.simulation) { disk.asAgent($0) }
        service = Self.service(disk.bots, process.machine, executor)
    }

    private static func service(_ bots: String, _ machine: NodeMachine, _ executor: SteppedExecutor) -> WorkspaceService
    {
        var rules = PolicyRules()
        if machine.allowsLinks { rules.workspaceLinks = .any }
        let policy = Policy(local: rules, file: nil)
        var guards = WorkspaceGuard.open
        guards.links = { path, destination in
            do throws(PolicyRefusal) {
                try policy.check(link: "\(path)", to: String(decoding: destination, as: UTF8.self))
                return nil
            } catch {
                return error.message
            }
        }
        var files = WorkspaceFiles(botsDirectory: bots, rules: guards)
        files.limits.reserveBytes = 0
        return WorkspaceService(
            files: files,
            logger: Logger(label: "simulated") { _ in SwiftLogNoOpLogHandler() },
            executor: executor
        )
    }

    /// One side of a transfer.
    func serve(_ header: WireStreamHeader, on id: UInt32, _ driver: SessionDriver<AgentSessionMachine>) {
        var service = service
        var onSend: ([UInt8]) -> Void = { _ in }
        switch header.kind {
        case .syncSource(let request):
            disk.prepare(request.botID, withWorkspace: false)
            if let view = view(of: request.botID) { service = view }
            onSend = { [weak process] message in
                guard case .manifest(let manifest)? = try? SyncSender.message(message).body, manifest.isLast,
                    let process, let copy = process.machine.bot(request.botID)
                else { return }
                process.simulation.checker.files.listed(copy.label)
            }
            process.simulation.meddleSoon(request.botID, on: process.machine)
        case .syncTarget(let request):
            disk.prepare(request.botID, withWorkspace: false)
        default: break
        }
        let stream = StreamBridge.accepted(id, driver, onSend: onSend)
        // Ends with its stream, which ends with its session.
        Task(executorPreference: executor) { [service] in await service.serve(header, on: stream) }
    }

    /// For defects: a tree without what an agent with this mistake does not see.
    private func view(of bot: String) -> WorkspaceService? {
        let (isBlind, isMute) = (simulation.has(.takesClosedForEmpty), simulation.has(.dropsLinksOut))
        guard isBlind || isMute, disk.hasWorkspace(bot) else { return nil }
        let view = NodeDisk(base: disk.base, name: "view-\(process.machine.number)")
        view.replace(with: disk)
        let place = view.workspace(bot)
        let own = disk.workspace(bot) + "/"
        for (path, entry) in view.listing(bot).entries.sorted(by: { $0.key < $1.key }) {
            if entry.kind == "l", entry.text.hasPrefix(own) {
                TreeCopy.remove(place + "/" + path)
                symlink(place + "/" + entry.text.dropFirst(own.count), place + "/" + path)
                continue
            }
            if isBlind, entry.kind == "d", access(place + "/" + path, F_OK) == 0, entry.mode & 0o500 != 0o500 {
                TreeCopy.remove(place + "/" + path)
                // Root reads it as it is.
                NodeDisk.makeDirectory(place + "/" + path, geteuid() == 0 ? entry.mode : entry.mode | 0o700)
                view.give(place + "/" + path)
            }
            if isMute, entry.kind == "l", entry.text.hasPrefix("/") || entry.text.hasPrefix("../../../..") {
                TreeCopy.remove(place + "/" + path)
            }
        }
        view.settle(bot)
        return Self.service(view.bots, process.machine, SteppedExecutor(simulation))
    }

    // MARK: - Commands

    func install(_ request: WireInstallWorkspace, then: @escaping (WireCommandResult) -> Void) {
        disk.prepare(request.botID, withWorkspace: false)
        if let bot = process.machine.bot(request.botID), bot.isRunning {
            let result = WireCommandResult.with { ($0.outcome, $0.errorCode) = (.failed, "bot_running") }
            return then(result)
        }
        if simulation.has(.takesLostForCarried), !request.revert { force(request) }
        answer(then) { await $0.install(request) }
    }

    func discard(_ request: WireDiscardTransfer, then: @escaping (WireCommandResult) -> Void) {
        disk.prepare(request.botID, withWorkspace: false)
        answer(then) { await $0.discard(request) }
    }

    private func answer(
        _ then: @escaping (WireCommandResult) -> Void,
        _ body: @escaping @Sendable (WorkspaceService) async -> WireCommandResult
    ) {
        // Unchecked: it is called on the simulation's thread.
        struct Answer: @unchecked Sendable { let then: (WireCommandResult) -> Void }
        // Outside of what is done with the agent's rights: who is told looks at everything.
        let answer = Answer { [world = process.world] result in world.after(1) { then(result) } }
        // Never waits for anything but its thread.
        Task(executorPreference: executor) { [service] in answer.then(await body(service)) }
    }

    /// For a defect: what came is what there is.
    private func force(_ request: WireInstallWorkspace) {
        disk.asAgent {
            guard let bot = try? BotDirectory(root: disk.bots, botID: request.botID),
                let transfer = try? TransferDirectory(bot, id: request.transferID), !transfer.isInstalled,
                let tree = try? BeneathDirectory(transfer.tree)
            else { return }
            try? transfer.provenance.noteAll(in: tree, maxEntries: 1000)
            try? transfer.setDigest(Digest256(request.digest))
        }
    }

    /// Removes what is there of a bot but its log.
    ///
    /// - Returns: why some of it stays; nil where nothing does.
    func remove(_ bot: String) -> String? {
        var problem: String?
        disk.asAgent {
            do {
                try BotDirectory(root: disk.bots, botID: bot).remove(keeping: .log)
            } catch {
                problem = "\(error)"
            }
        }
        return problem
    }
}

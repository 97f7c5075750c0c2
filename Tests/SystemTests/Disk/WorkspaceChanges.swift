import Foundation
import Glibc

/// What bots, and others who write to workspaces, do to them; by the world's chance.
struct WorkspaceChanges {
    let disk: NodeDisk
    let bot: String
    let world: World
    /// Something can be mounted.
    let canMount: Bool
    /// Names whatever it makes.
    let number: Int

    private var place: String { disk.workspace(bot) }

    /// What a workspace begins with: a few things of the usual kinds, and now and then one that makes moves hard.
    func populate() {
        for _ in 0..<world.pick(3...7) { change(Self.usual) }
        if world.chance(40) { change([.pipe]) }
        if world.chance(12) { change(Self.hard) }
        disk.settle(bot)
    }

    enum Change: String, CaseIterable {
        case write, edit, grow, rewrite, delete, directory, linkInside, linkToOwn, linkToSystem, hardLink, other
        case pipe, mount, unmount, linkOut, closeFile, closeDirectory, foreign
        /// Somebody sets right what keeps a workspace from being carried.
        case open
    }

    private static let usual: [Change] = [
        .write, .write, .write, .edit, .edit, .delete, .directory, .directory, .linkInside, .linkToOwn, .linkToSystem,
        .hardLink,
        .other, .grow,
    ]
    private static let hard: [Change] = [.mount, .linkOut, .closeFile, .closeDirectory, .foreign]

    /// One more thing; in haste mostly to what is there.
    func change(isHasty: Bool = false) {
        switch world.pick(isHasty ? -120...100 : 1...100) {
        case ...0: change([.delete, .delete, .other, .edit, .rewrite])
        case ...62: change(Self.usual)
        case ...68: change([.pipe])
        case ...72: change([.unmount])
        case ...82: change(Self.hard)
        default: change([.open])
        }
        disk.settle(bot)
    }

    private func change(_ kinds: [Change]) {
        let kind = kinds[world.pick(0...kinds.count - 1)]
        let entries = disk.listing(bot).entries.filter { $0.key != "memory" }
        let directories = [""] + entries.filter { $0.value.kind == "d" }.keys.sorted().map { $0 + "/" }
        let name = directories[world.pick(0...directories.count - 1)] + "e\(number)-\(world.pick(0...999))"
        let paths = entries.keys.sorted()
        let picked = paths.isEmpty ? "" : paths[world.pick(0...paths.count - 1)]
        let bytes = [UInt8](repeating: UInt8(clamping: world.pick(97...122)), count: world.pick(0...400))
        world.note("\(bot)'s workspace: \(kind), \(name), \(picked)", 76, number)
        // The second in which it happens: nothing but what is the same in every course.
        let second = Int(world.now / 1_000_000) + number
        disk.asAgent {
            make(kind, place + "/" + name, second, bytes)
            if !picked.isEmpty { alter(kind, place + "/" + picked, entries[picked]?.kind ?? "f", second, bytes, name) }
        }
        if kind == .foreign { makeForeign(place + "/" + name, second, bytes) }
        if kind == .open { open(entries) }
    }

    private func make(_ kind: Change, _ path: String, _ second: Int, _ bytes: [UInt8]) {
        switch kind {
        case .write: NodeDisk.write(path, bytes, at: second)
        case .directory:
            NodeDisk.makeDirectory(path, 0o755)
            NodeDisk.write(path + "/inside", bytes, at: second)
        case .grow: NodeDisk.write(path, [UInt8](repeating: UInt8(clamping: second % 251), count: 140_000), at: second)
        case .linkInside: symlink("./memory", path)
        case .linkToOwn: symlink(place + "/memory", path)
        case .linkToSystem: symlink("/usr/bin/env", path)
        case .linkOut: symlink(second % 2 == 0 ? "/srv/data" : "../../../../../elsewhere", path)
        case .hardLink: link(place + "/memory", path)
        case .pipe: mkfifo(path, 0o600)
        case .closeFile:
            NodeDisk.write(path, bytes + [1], at: second)
            chmod(path, 0o200)
        case .closeDirectory:
            NodeDisk.makeDirectory(path, 0o755)
            NodeDisk.write(path + "/inside", bytes, at: second)
            chmod(path, second % 2 == 0 ? 0 : 0o300)
        case .mount: mount(path, second, bytes)
        case .edit, .rewrite, .delete, .unmount, .foreign, .open, .other: break
        }
    }

    /// Done by somebody who may; the files by the agent's user.
    private func mount(_ path: String, _ second: Int, _ bytes: [UInt8]) {
        NodeDisk.makeDirectory(path, 0o755)
        guard canMount else { return NodeDisk.write(path + "/held", bytes, at: second) }
        disk.asRoot { _ = SimulatedMount.mount(at: path) }
        NodeDisk.write(path + "/held", bytes, at: second)
    }

    private func alter(
        _ kind: Change,
        _ path: String,
        _ type: Character,
        _ second: Int,
        _ bytes: [UInt8],
        _ name: String
    ) {
        switch kind {
        case .rewrite where type == "f":
            // Another file of the same name.
            unlink(path)
            NodeDisk.write(path, bytes + [10], at: second)
        case .edit where type == "f": NodeDisk.write(path, bytes, at: second)
        case .delete where type != "d": unlink(path)
        case .delete where SimulatedMount.places(beneath: path).isEmpty: TreeCopy.remove(path)
        case .other where type == "f":
            // A directory has taken its place.
            unlink(path)
            NodeDisk.makeDirectory(path, 0o755)
            NodeDisk.write(path + "/inside", bytes, at: second)
        case .other where type == "l":
            unlink(path)
            NodeDisk.write(path, bytes, at: second)
        case .unmount:
            if let mounted = SimulatedMount.places(beneath: place).sorted().first {
                disk.asRoot { SimulatedMount.unmount(mounted) }
            }
        default: break
        }
    }

    /// What another user has put there, and the agent may not read.
    private func makeForeign(_ path: String, _ second: Int, _ bytes: [UInt8]) {
        NodeDisk.write(path, bytes, at: second)
        if geteuid() != 0 { chmod(path, 0) }
    }

    private func open(_ entries: [String: WorkspaceListing.Entry]) {
        for (path, entry) in entries.sorted(by: { $0.key < $1.key }) {
            let place = place + "/" + path
            switch entry.kind {
            case "d": if entry.mode & 0o700 != 0o700 { chmod(place, entry.mode | 0o700) }
            case "f":
                if geteuid() == 0 { lchown(place, NodeDisk.agent, 0) }
                if entry.mode & 0o600 != 0o600 { chmod(place, entry.mode | 0o600) }
            case "l" where entry.text == "/srv/data" || entry.text.hasSuffix("/elsewhere"): unlink(place)
            default: break
            }
        }
    }
}

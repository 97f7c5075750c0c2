import Foundation
import Glibc

/// File systems mounted inside workspaces: real ones, in a mount namespace of the simulation's thread, which takes them with it when
/// it ends. Who may not do that has none.
enum SimulatedMount {
    private typealias Unshare = @convention(c) (Int32) -> Int32
    private typealias Mount =
        @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafePointer<CChar>?, UInt, UnsafePointer<CChar>?)
        ->
        Int32
    private typealias Unmount = @convention(c) (UnsafePointer<CChar>, Int32) -> Int32

    private static func symbol<Function>(_ name: String, _ type: Function.Type) -> Function? {
        dlsym(nil, name).map { unsafeBitCast($0, to: type) }
    }

    private static let newNamespace: Int32 = 0x2_0000
    private static let noSetUser: UInt = 2
    private static let isPrivate: UInt = 0x4_4000
    private static let detach: Int32 = 2

    /// Gives this thread mounts of its own.
    ///
    /// - Returns: whether it may mount anything.
    static func begin() -> Bool {
        guard geteuid() == 0, let unshare = symbol("unshare", Unshare.self), let mount = symbol("mount", Mount.self),
            unshare(newNamespace) == 0
        else { return false }
        return mount("none", "/", nil, isPrivate, nil) == 0
    }

    /// An empty file system that belongs to the agent's user.
    static func mount(at path: String) -> Bool {
        guard let mount = symbol("mount", Mount.self) else { return false }
        return mount("simulated", path, "tmpfs", noSetUser, "size=256k,mode=755,uid=\(NodeDisk.agent)") == 0
    }

    static func unmount(_ path: String) { _ = symbol("umount2", Unmount.self)?(path, detach) }

    /// Where something is mounted, there or beneath, the innermost first.
    static func places(beneath path: String) -> [String] {
        guard let bytes = FileManager.default.contents(atPath: "/proc/thread-self/mounts") else { return [] }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { line in
            let place = String(line.split(separator: " ").dropFirst().first ?? "")
            return place == path || place.hasPrefix(path + "/") ? place : nil
        }.reversed()
    }

    static func unmountAll(beneath path: String) {
        for place in places(beneath: path) { unmount(place) }
    }
}

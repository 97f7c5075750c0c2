import CLinux
import Glibc
import WireFormat

/// What this kernel has to keep bots to themselves, found out at run time.
struct IsolationFeatures: Sendable, Equatable {
    /// The version of Landlock; 0 where there is none.
    var landlock: Int32
    /// Why there is none, and what to do; empty where there is one.
    var landlockShortfall = ""
    /// Whether system calls can be filtered.
    var filtersCalls: Bool
    var filterShortfall = ""
    /// Whether other users can be switched to.
    var switchesUsers: Bool

    static func current() -> IsolationFeatures {
        var features = IsolationFeatures(landlock: 0, filtersCalls: false, switchesUsers: geteuid() == 0)
        let version = CLinux_landlock_version()
        if version > 0 {
            features.landlock = version
        } else {
            features.landlockShortfall = landlockShortfall(errno)
        }
        var steps = [CLinux_filter_step](repeating: CLinux_filter_step(), count: Int(CLINUX_FILTER_ROOM))
        if CLinux_filter_write(&steps, CLinux_filter_options()) == 0 {
            features.filterShortfall = "there is no filter for this kind of processor"
        } else if CLinux_can_filter() == 0 {
            features.filterShortfall = "this kernel cannot filter system calls (it has none of seccomp)"
        } else {
            features.filtersCalls = true
        }
        if !Defence.landlock.isUp {
            (features.landlock, features.landlockShortfall) = (0, "it is switched off for a test")
        }
        if !Defence.seccomp.isUp {
            (features.filtersCalls, features.filterShortfall) = (false, "it is switched off for a test")
        }
        return features
    }

    private static func landlockShortfall(_ code: Int32) -> String {
        switch code {
        case ENOSYS: "this kernel has no Landlock (Linux 5.13 and later can have it)"
        case EOPNOTSUPP: "Landlock is switched off; add it to lsm= on the kernel's command line"
        default: "Landlock cannot be used here: \(String(errno: code))"
        }
    }
}

extension IsolationFeatures {
    /// What the cage of a launch comes to.
    ///
    /// - Parameters:
    ///   - cage: nil where the profile switches isolation off.
    ///   - hasOwnUser: the bot runs as a user that is neither root nor the agent's.
    ///   - answersCalls: the supervisor answers for changes of files' attributes.
    func inForce(_ cage: Cage?, hasOwnUser: Bool, answersCalls: Bool) -> [IsolationInForce] {
        guard let cage else {
            return IsolationInForce.Aspect.allCases.map { aspect in
                hasOwnUser && [.files, .attributes, .processes, .signals, .user].contains(aspect)
                    ? byUser(aspect)
                    : IsolationInForce(aspect: aspect, mechanism: .none, note: "the profile switches isolation off")
            }
        }
        var result = [files(cage, hasOwnUser), attributes(hasOwnUser, answersCalls)]
        result += [devices, processes(hasOwnUser), signals(hasOwnUser), calls, sockets(cage)]
        result.append(
            IsolationInForce(
                aspect: .privileges,
                mechanism: .noNewPrivileges,
                note: "no program gives it more rights (sudo and its like do not work), and capabilities are dropped"
            )
        )
        result.append(hasOwnUser ? byUser(.user) : sharedUser)
        return result
    }

    private func byUser(_ aspect: IsolationInForce.Aspect) -> IsolationInForce {
        let note =
            aspect == .user
            ? "the bot runs as a user that is not the agent's" : "as far as files and processes are of another user"
        return IsolationInForce(aspect: aspect, mechanism: .user, note: note)
    }

    private var sharedUser: IsolationInForce {
        IsolationInForce(
            aspect: .user,
            mechanism: .none,
            note: "the bot runs as the agent's own user (uid \(geteuid())); a profile may name another"
        )
    }

    private func without(_ aspect: IsolationInForce.Aspect, _ note: String, _ hasOwnUser: Bool) -> IsolationInForce {
        var answer = IsolationInForce(aspect: aspect, mechanism: .none, note: note)
        if hasOwnUser {
            answer = byUser(aspect)
            answer.note += "; \(note)"
        }
        return answer
    }

    private func files(_ cage: Cage, _ hasOwnUser: Bool) -> IsolationInForce {
        guard landlock > 0 else { return without(.files, landlockShortfall, hasOwnUser) }
        var note =
            "Landlock \(landlock): it writes its own directory, and reads that, the system's programs and what it is made of"
        if !cage.opened.isEmpty { note += "; the profile opens \(cage.opened.joined(separator: ", ")) to it" }
        let missing = cage.opened.filter { access($0, F_OK) != 0 && errno == ENOENT }
        if !missing.isEmpty {
            note += "; of that \(missing.joined(separator: ", ")) does not exist, so it opens nothing"
        }
        if landlock < 2 { note += "; files cannot be moved from one directory to another on this kernel" }
        return IsolationInForce(aspect: .files, mechanism: .landlock, note: note)
    }

    private func attributes(_ hasOwnUser: Bool, _ answersCalls: Bool) -> IsolationInForce {
        if answersCalls {
            return IsolationInForce(
                aspect: .attributes,
                mechanism: .seccomp,
                note: "its supervisor changes them for it, in its own directory"
            )
        }
        let reason = filtersCalls ? "another filter already asks somebody else" : filterShortfall
        return without(.attributes, "modes and times of the agent's files can be changed: \(reason)", hasOwnUser)
    }

    private var devices: IsolationInForce {
        landlock >= 5
            ? IsolationInForce(
                aspect: .devices,
                mechanism: .landlock,
                note: "it reaches /dev/null and its like, and asks them nothing else"
            )
            : IsolationInForce(
                aspect: .devices,
                mechanism: landlock > 0 ? .landlock : .none,
                note: landlock > 0 ? "it reaches /dev/null and its like" : landlockShortfall
            )
    }

    private func processes(_ hasOwnUser: Bool) -> IsolationInForce {
        if landlock > 0 {
            return IsolationInForce(
                aspect: .processes,
                mechanism: .landlock,
                note: "it cannot look into processes that it has not started"
            )
        }
        let others = "the agent's own processes are closed to it, other bots' are not: \(landlockShortfall)"
        return without(.processes, others, hasOwnUser)
    }

    private func signals(_ hasOwnUser: Bool) -> IsolationInForce {
        landlock >= 6
            ? IsolationInForce(
                aspect: .signals,
                mechanism: .landlock,
                note: "it cannot signal processes that it has not started"
            )
            : without(
                .signals,
                landlock > 0 ? "this kernel has Landlock \(landlock), and 6 is needed" : landlockShortfall,
                hasOwnUser
            )
    }

    private var calls: IsolationInForce {
        IsolationInForce(
            aspect: .systemCalls,
            mechanism: filtersCalls ? .seccomp : .none,
            note: filtersCalls
                ? "no debugging, namespaces, mounts, io_uring, kernel programs, keys or shared memory of the user"
                : filterShortfall
        )
    }

    private func sockets(_ cage: Cage) -> IsolationInForce {
        if cage.opensUnixSockets {
            return IsolationInForce(
                aspect: .unixSockets,
                mechanism: .none,
                note: "the profile opens them: it reaches what its user may, such as a container engine"
            )
        }
        return IsolationInForce(
            aspect: .unixSockets,
            mechanism: filtersCalls ? .seccomp : .none,
            note: filtersCalls ? "it opens none; a profile may allow it" : filterShortfall
        )
    }
}

#!/usr/bin/env escript
%% Drives the node's real release handler as EMQX 4.4.16 does: the same words, the same exit statuses, and the same states left behind
%% where something goes wrong. 1: not running; 2: no such release, or it is in use; 3: refused; 4: failed; 127: nobody foresaw it.

main([Command, Name, Cookie | Words]) ->
    Node = connect(list_to_atom(Name), list_to_atom(Cookie)),
    {Permanent, Version} = options(Words, {true, undefined}),
    do(Command, Node, Version, Permanent).

connect(Node, Cookie) ->
    code:add_pathsz(filelib:wildcard(filename:join([os:getenv("RUNNER_ROOT_DIR"), "lib", "*", "ebin"]))),
    [_, Host] = string:split(atom_to_list(Node), "@"),
    Own = list_to_atom("maint_upgrade_" ++ os:getpid() ++ "@" ++ Host),
    {ok, _} = net_kernel:start([Own, longnames]),
    erlang:set_cookie(node(), Cookie),
    case {net_kernel:hidden_connect_node(Node), net_adm:ping(Node)} of
        {true, pong} ->
            {ok, Here} = file:get_cwd(),
            ok = call(Node, file, set_cwd, [Here]),
            Node;
        _ ->
            say("Node ~p not responding to pings.", [Node]),
            halt(1)
    end.

options(["--no-permanent" | Rest], {_, Version}) ->
    options(Rest, {false, Version});
options([Word | Rest], {Permanent, _}) ->
    options(Rest, {Permanent, hd(string:lexemes(Word, "/"))});
options([], Found) ->
    Found.

do("versions", Node, _, _) ->
    list(Node);
do("unpack", Node, Version, _) ->
    ensure_allowed(Node, Version),
    case unpack(Node, Version) of
        unpacked_now -> say("Unpacked successfully: ~p", [Version]);
        old -> say("Release ~s is marked old.", [Version]);
        unpacked -> say("Release ~s is already unpacked.", [Version]);
        current -> say("Release ~s is already installed and current.", [Version]);
        permanent -> say("Release ~s is already installed and set permanent.", [Version]);
        {error, Reason} -> unpack_failed(Node, "Unpack failed: ~p.", Reason)
    end;
do("uninstall", Node, Version, _) ->
    copy_boot_file(running(Node)),
    case proplists:get_value(Version, releases(Node)) of
        undefined -> say("Release ~s is already uninstalled.", [Version]);
        old ->
            say("Release ~s is marked old, uninstalling it.", [Version]),
            remove(Node, Version);
        unpacked ->
            say("Release ~s is marked unpacked, uninstalling it", [Version]),
            remove(Node, Version);
        current ->
            say("Uninstall failed: Release ~s is marked current.", [Version]),
            halt(2);
        permanent ->
            say("Uninstall failed: Release ~s is running.", [Version]),
            halt(2)
    end;
%% `install`, `upgrade` and `downgrade` are one.
do(_, Node, Version, Permanent) ->
    ensure_allowed(Node, Version),
    case unpack(Node, Version) of
        unpacked_now ->
            say("Unpacked successfully: ~p.", [Version]),
            install(Node, Version, Permanent);
        old ->
            say("Release ~s is marked old, switching to it.", [Version]),
            install(Node, Version, Permanent);
        unpacked ->
            say("Release ~s is already unpacked, now installing.", [Version]),
            install(Node, Version, Permanent);
        current when Permanent ->
            say("Release ~s is already installed and current, making permanent.", [Version]),
            make_permanent(Node, Version);
        current ->
            say("Release ~s is already installed and current.", [Version]);
        permanent ->
            case running(Node) of
                Version ->
                    say("Release ~s is already installed, running and set permanent.", [Version]);
                Other ->
                    say("Release ~s is the currently running version.", [Other]),
                    install(Node, Version, Permanent)
            end;
        {error, Reason} ->
            unpack_failed(Node, "Unpack failed: ~p", Reason)
    end.

unpack_failed(Node, Format, Reason) ->
    say(Format, [Reason]),
    list(Node),
    halt(2).

%% Only between patch versions; 4.4 and 4.5 count as one.
ensure_allowed(Node, Version) ->
    Running = running(Node),
    case {minor(Running), minor(Version)} of
        {Same, Same} -> ok;
        {["4", A], ["4", B]} when A =:= "4", B =:= "5"; A =:= "5", B =:= "4" -> ok;
        _ ->
            say("Cannot upgrade/downgrade to ~s from ~s~nWe only support relup between patch versions",
                [Version, Running]),
            error({relup_not_allowed, unsupported_target_version})
    end.

minor(Version) ->
    case re:run(Version, "^(\\d+)\\.(\\d+)\\.\\d+([-+].*)?$", [{capture, [1, 2], list}]) of
        {match, Minor} -> Minor;
        nomatch -> error({invalid_semver, Version})
    end.

unpack(Node, Version) ->
    Booted = filelib:is_regular(filename:join(["releases", Version, "start.boot"])),
    case proplists:get_value(Version, releases(Node)) of
        undefined -> unpack_package(Node, Version);
        unpacked when not Booted -> unpack_package(Node, Version);
        Status -> Status
    end.

unpack_package(Node, Version) ->
    ok = pack_again(Version),
    Packed = filename:join("releases", "emqx-" ++ Version ++ ".tar.gz"),
    case filelib:is_file(Packed) of
        false -> {error, release_package_not_found};
        true ->
            Link = filename:join(["releases", Version, "emqx.tar.gz"]),
            ok = filelib:ensure_dir(Link),
            _ = file:delete(Link),
            ok = file:make_symlink(filename:absname(Packed), Link),
            say("Release ~s not found, attempting to unpack ~s", [Version, Packed]),
            case call(Node, release_handler, unpack_release, [filename:join(Version, "emqx")]) of
                {ok, Version} -> unpacked_now;
                {error, {existing_release, Version}} -> unpacked_now;
                {error, _} = Error -> Error
            end
    end.

%% Every zip whose name has the version in it becomes the archive that the release handler reads: with two of them, the second one is
%% looked for where the first one was unpacked. What was unpacked stays.
pack_again(Version) ->
    {ok, Here} = file:get_cwd(),
    Archive = filename:absname(filename:join("releases", "emqx-" ++ Version ++ ".tar.gz")),
    Zips = filelib:wildcard(filename:join("releases", "emqx-*" ++ Version ++ "*.zip")),
    say("unzip ~p", [Zips]),
    try
        lists:foreach(fun(Zip) ->
            Directory = filename:join(os:getenv("RUNNER_TMP_DIR", "/tmp"),
                                      "emqx_untar_" ++ integer_to_list(erlang:system_time())),
            Copy = filename:join(Directory, "emqx.zip"),
            ok = filelib:ensure_dir(Copy),
            {ok, _} = file:copy(Zip, Copy),
            ok = file:set_cwd(Directory),
            {ok, _} = zip:unzip("emqx.zip"),
            ok = file:set_cwd(filename:join(Directory, "emqx")),
            ok = erl_tar:create(Archive, filelib:wildcard("*"), [compressed])
        end, Zips)
    after
        ok = file:set_cwd(Here)
    end.

install(Node, Version, Permanent) ->
    %% What runs is carried over: edits of configuration files are not picked up.
    {ok, [[Arguments]]} = call(Node, init, get_argument, [vm_args]),
    {ok, _} = file:copy(Arguments, filename:join(["releases", Version, "vm.args"])),
    Applications = [Name || {Name, _, _} <- call(Node, application, which_applications, [])],
    Environments = [{Name, call(Node, application, get_all_env, [Name])} || Name <- Applications],
    Config = [Pair || {_, Environment} = Pair <- Environments, Environment =/= []],
    ok = file:write_file(filename:join(["releases", Version, "sys.config"]), io_lib:format("~p.~n", [Config])),
    case call(Node, release_handler, check_install_release, [Version]) of
        {ok, _, _} -> ok;
        {error, Refused} ->
            say("ERROR: release_handler:check_install_release failed: ~p.", [Refused]),
            halt(3)
    end,
    case call(Node, release_handler, install_release, [Version, [{update_paths, true}]]) of
        {ok, _, _} -> say("Installed Release: ~s.", [Version]);
        {error, {no_such_release, Version}} ->
            list(Node),
            say("ERROR: Unable to roll back to '~s' - not installed.", [Version]),
            halt(2);
        {error, {old_processes, Module}} ->
            say("ERROR: unable to install '~s' - old processes still running code from module ~p", [Version, Module]),
            halt(3);
        {error, Reason} ->
            say("ERROR: release_handler:install_release failed: ~p", [Reason]),
            halt(4)
    end,
    _ = Permanent andalso make_permanent(Node, Version),
    ok.

make_permanent(Node, Version) ->
    ok = call(Node, release_handler, make_permanent, [Version]),
    say("Made release permanent: ~p", [Version]),
    Scripts = ["emqx", "emqx_ctl", "cuttlefish", "nodetool", "install_upgrade.escript"],
    [{ok, _} = file:copy(filename:join("bin", Script ++ "-" ++ Version), filename:join("bin", Script))
     || Script <- Scripts],
    copy_boot_file(Version),
    {ok, Start} = file:read_file(filename:join("releases", "start_erl.data")),
    [Erts, _] = string:lexemes(binary_to_list(Start), " "),
    ok = file:write_file(filename:join("releases", "emqx_vars"),
                         io_lib:format("REL_VSN=\"~s\"~nERTS_VSN=\"~s\"~n", [Version, Erts]), [append]).

copy_boot_file(Version) ->
    {ok, _} = file:copy(filename:join(["releases", Version, "no_dot_erlang.boot"]),
                        filename:join("bin", "no_dot_erlang.boot")).

remove(Node, Version) ->
    case call(Node, release_handler, remove_release, [Version]) of
        ok -> say("Uninstalled Release: ~s", [Version]);
        {error, Reason} ->
            say("ERROR: release_handler:remove_release failed: ~p", [Reason]),
            halt(3)
    end.

releases(Node) ->
    [{Version, Status} || {_, Version, _, Status} <- call(Node, release_handler, which_releases, [])].

running(Node) ->
    ByStatus = [{Status, Version} || {Version, Status} <- releases(Node)],
    proplists:get_value(current, ByStatus, proplists:get_value(permanent, ByStatus)).

list(Node) ->
    say("Installed versions:~n~s", [[io_lib:format("* ~s\t~s~n", [Version, Status])
                                     || {Version, Status} <- releases(Node)]]).

call(Node, Module, Function, Arguments) ->
    rpc:call(Node, Module, Function, Arguments, 300000).

say(Format, Arguments) ->
    io:format(Format ++ "~n", Arguments).

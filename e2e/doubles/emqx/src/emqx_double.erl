%% What a test sets on a running node, as files under `double/` of its data directory.
-module(emqx_double).

-export([bad_after/0, setting/2]).

%% Milliseconds after which a release that goes bad later does so.
bad_after() ->
    list_to_integer(setting("bad_after_ms", "60000")).

%% The text of a setting.
setting(Name, Default) ->
    {ok, Directory} = application:get_env(emqx, data_dir),
    case file:read_file(filename:join([Directory, "double", Name])) of
        {ok, Text} -> string:trim(binary_to_list(Text));
        {error, _} -> Default
    end.
